// Logging in: with name and password, or with the one-time link of the first start. Owns: these two.

import { post } from "./api.js";
import { html, render, Submit, Text, Trouble, useEffect, useForm, useState, Waiting } from "./ui.js";
import { choose, language, NAMES, t } from "./text.js";

const home = (hash = "") => location.replace(new URL(`./${hash}`, document.baseURI));

function Login({ told }) {
  const form = useForm({ username: "", password: "" });
  const enter = async () => {
    const done = await form.send((values) => post("session", values));
    if (done !== undefined) home();
  };
  return html`<form novalidate onSubmit=${(event) => { event.preventDefault(); enter(); }}>
    <p class="lead">${t("login.lead")}</p>
    ${told && !form.error && html`<${Trouble} error=${told} />`}<${Trouble} error=${form.error} />
    <${Text} label=${t("login.username")} ...${form.field("username")} autocomplete="username" autocapitalize="none" autofocus />
    <${Text} label=${t("login.password")} ...${form.field("password")} type="password" autocomplete="current-password" />
    <${Submit} label=${t("login.enter")} busy=${form.busy} /></form>`;
}

function Door() {
  const link = location.pathname.endsWith("/setup") ? location.hash.slice(1) : "";
  const [state, setState] = useState({ busy: Boolean(link) });
  useEffect(() => {
    if (!link) return;
    history.replaceState(null, "", location.pathname); // a secret is not to stay in the address
    post("session", { link }).then(() => home("#/first"), (error) => setState({ error }));
  }, []);
  return html`<main class="door"><article>
    <h1><img src="favicon.svg" alt="" width="28" height="28" /> rawstream</h1>
    ${state.busy ? html`<${Waiting} busy=${t("login.link")} />` : html`<${Login} told=${state.error} />`}
    <p class="languages">${Object.entries(NAMES).map(([code, name]) => html`<button type="button" class="plain" lang=${code}
      aria-pressed=${code === language ? "true" : "false"} onClick=${() => choose(code)}>${name}</button>`)}</p>
  </article></main>`;
}

const app = document.getElementById("app");
app.dataset.door = "";
document.title = `${t("login.title")} · rawstream`;
render(html`<${Door} />`, app);
