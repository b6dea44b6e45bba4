// What may be changed while the server runs, tokens of scripts, copies. Owns: this page.

import { address, exchange, patch, post, remove, useGet } from "./api.js";
import { attempt, Badge, Button, Check, Dialog, Head, html, Icon, note, Nothing, Shown, Submit, sure, Text, Trouble, useEffect, useForm, useState, Waiting, Whole } from "./ui.js";
import { dateMoment, day, moment } from "./format.js";
import { t, word } from "./text.js";

/** One setting, by what it is now. Lists are written with commas. */
function Setting({ name, value, form }) {
  const label = word("setting", name);
  const given = { label, ...form.field(name) };
  if (typeof value === "boolean") return html`<${Check} ...${given} />`;
  if (typeof value === "number") return html`<${Whole} ...${given} step="any" />`;
  if (Array.isArray(value)) {
    return html`<${Text} ...${given} value=${(form.values[name] || []).join(", ")} hint=${t("settings.commas")}
      onInput=${(text) => form.set(name, text.split(",").map((one) => one.trim()).filter(Boolean))} />`;
  }
  return html`<${Text} ...${given} />`;
}

function Values() {
  const form = useForm({});
  const [kept, setKept] = useState(null);
  const read = () => exchange("GET", "settings").then(([found, tag]) => {
    const values = found.settings ?? found.values ?? found;
    setKept({ values, tag });
    form.setValues(values);
  }, form.setError);
  useEffect(() => { read(); }, []);
  const save = async () => {
    const changed = Object.fromEntries(Object.entries(form.values).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(kept.values[name])));
    if ((await form.send(() => patch("settings", changed, kept.tag))) === undefined) return;
    note(t("saved"));
    await read();
  };
  return html`<section class="card"><h2>${t("settings.values")}</h2><${Trouble} error=${form.error} />
    ${!kept && !form.error && html`<${Waiting} />`}
    ${kept && html`<form novalidate onSubmit=${(event) => { event.preventDefault(); save(); }}>
      <div class="settings">${Object.entries(kept.values).filter(([, value]) => value === null || typeof value !== "object" || Array.isArray(value)).map(([name, value]) => html`<${Setting} key=${name} name=${name} value=${value} form=${form} />`)}</div>
      <${Submit} label=${t("save")} busy=${form.busy} /></form>`}</section>`;
}

function NewToken({ onClose, onDone }) {
  const form = useForm({ name: "", until: "" });
  const [made, setMade] = useState(null);
  const make = async () => {
    const found = await form.send(({ name, until }) => post("tokens", { name, expires_at: dateMoment(until) }));
    if (found !== undefined) setMade(found);
  };
  if (made) {
    return html`<${Dialog} title=${t("tokens.made")} onClose=${onDone} footer=${html`<${Button} label=${t("done")} onClick=${onDone} />`}>
      <p class="lead">${t("accounts.once")}</p><${Shown} label=${t("tokens.secret")} value=${made.secret ?? made.token} /><//>`;
  }
  return html`<${Dialog} title=${t("tokens.new")} onClose=${onClose} onSubmit=${make}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("add")} busy=${form.busy} />`}>
    <${Trouble} error=${form.error} />
    <${Text} label=${t("tokens.name")} ...${form.field("name")} /><${Text} type="date" label=${t("accounts.expires")} ...${form.field("until")} hint=${t("accounts.expires.hint")} /><//>`;
}

function Tokens() {
  const { data, error, reload } = useGet("tokens");
  const [adding, setAdding] = useState(false);
  const items = data?.items ?? [];
  const erase = async (one) => {
    if (!(await sure(t("tokens.delete.sure", { name: one.name }), t("delete")))) return;
    if ((await attempt(() => remove(`tokens/${one.id}`), t("deleted"))) !== undefined) reload();
  };
  return html`<section class="card"><div class="line"><h2>${t("tokens")}</h2><span class="gap"></span><${Button} icon="plus" kind="secondary small" label=${t("tokens.new")} onClick=${() => setAdding(true)} /></div>
    <p class="lead">${t("tokens.lead")}</p><${Trouble} error=${error} />
    ${data && !items.length && html`<${Nothing} text=${t("tokens.none")} />`}
    <ul class="plain-list">${items.map((one) => html`<li key=${one.id} class="line"><${Icon} name="key" /><strong class="clip">${one.name || `#${one.id}`}</strong>
      <small>${moment(one.created_at)}</small><${Badge}>${one.expires_at ? t("until", { at: day(one.expires_at) }) : t("accounts.never")}<//>
      <span class="gap"></span><${Button} icon="trash" text=${false} label=${t("delete.what", { name: one.name || one.id })} onClick=${() => erase(one)} /></li>`)}</ul>
    ${adding && html`<${NewToken} onClose=${() => setAdding(false)} onDone=${() => { setAdding(false); reload(); }} />`}</section>`;
}

export default function Settings() {
  return html`<${Head} title=${t("nav.settings")} /><${Values} /><${Tokens} />
    <section class="card"><h2>${t("backup")}</h2><p class="lead">${t("backup.lead")}</p>
      <a role="button" class="secondary" href=${address("backup")} download>${t("backup.get")}</a></section>`;
}
