// The first start: a password for the admin, an engine, a first playlist. Owns: these three steps;
// each may be left out, and is found again on its own page.

import { patch, post } from "./api.js";
import { Button, Head, html, Icon, note, Submit, Text, Trouble, useForm, useState } from "./ui.js";
import { Checked, useCheck } from "./page_engines.js";
import { Adding } from "./page_lists.js";
import { useLive } from "./live.js";
import { t } from "./text.js";

function Step({ number, title, done, lead, children }) {
  return html`<section class="card step ${done ? "done" : ""}"><h2><span class="mark">${done ? html`<${Icon} name="check" />` : number}</span> ${title}</h2>
    <p class="lead">${lead}</p>${children}</section>`;
}

function Password({ who, done, onDone }) {
  const form = useForm({ password: "", again: "" });
  const differs = form.values.again !== "" && form.values.password !== form.values.again;
  const save = async () => {
    const { password } = form.values;
    if ((await form.send(() => patch(`accounts/${who.account_id}`, { password }))) !== undefined) onDone();
  };
  return html`<${Step} number="1" title=${t("first.password")} lead=${t("first.password.lead", { name: who?.username ?? "admin" })} done=${done}>
    ${!done && html`<form novalidate onSubmit=${(event) => { event.preventDefault(); save(); }}><${Trouble} error=${form.error} />
      <input class="hidden" autocomplete="username" tabindex="-1" aria-hidden="true" readonly value=${who?.username ?? ""} />
      <div class="grid"><${Text} label=${t("first.password.new")} type="password" autocomplete="new-password" ...${form.field("password")} />
      <${Text} label=${t("first.password.again")} type="password" autocomplete="new-password" ...${form.field("again")} problem=${differs ? t("first.password.differs") : undefined} /></div>
      <${Submit} label=${t("save")} busy=${form.busy} disabled=${!who || !form.values.password || form.values.password !== form.values.again} /></form>`}<//>`;
}

function Engine({ done, onDone }) {
  const form = useForm({ url: "http://127.0.0.1:6878" });
  const [told, check] = useCheck(form);
  const { engines } = useLive();
  const add = async () => {
    const url = form.values.url.trim();
    if ([...engines.values()].some((one) => one.url === url)) {
      onDone();
      return;
    }
    if ((await form.send(() => post("engines", { url }))) !== undefined) onDone();
  };
  return html`<${Step} number="2" title=${t("first.engine")} lead=${t("first.engine.lead")} done=${done}>
    ${!done && html`<form novalidate onSubmit=${(event) => { event.preventDefault(); add(); }}><${Trouble} error=${form.error} />
      <${Text} label=${t("engines.url")} ...${form.field("url")} inputmode="url" autocapitalize="none" />
      <${Checked} told=${told} />
      <div class="tools start"><${Button} kind="secondary" label=${t("engines.check")} onClick=${check} /><${Submit} label=${t("first.engine.use")} busy=${form.busy} /></div></form>`}<//>`;
}

export default function First({ who }) {
  const [done, setDone] = useState({});
  const [adding, setAdding] = useState(false);
  const mark = (name) => {
    note(t("saved"));
    setDone((before) => ({ ...before, [name]: true }));
  };
  return html`<${Head} title=${t("nav.first")} /><p class="lead">${t("first.lead")}</p>
    <${Password} who=${who} done=${done.password} onDone=${() => mark("password")} />
    <${Engine} done=${done.engine} onDone=${() => mark("engine")} />
    <${Step} number="3" title=${t("first.list")} lead=${t("first.list.lead")} done=${done.list}>
      ${!done.list && html`<${Button} icon="plus" label=${t("lists.add")} onClick=${() => setAdding(true)} />`}<//>
    <p><a role="button" class=${done.list ? "" : "secondary"} href="#/overview">${t("first.go")}</a></p>
    ${adding && html`<${Adding} onClose=${() => setAdding(false)} onDone=${() => { setAdding(false); mark("list"); }} />`}`;
}
