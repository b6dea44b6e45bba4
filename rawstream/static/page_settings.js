// What may be changed while the server runs, tokens of scripts, copies. Owns: this page.

import { address, exchange, post, remove, useGet } from "./api.js";
import { attempt, Badge, Button, Check, Choice, Dialog, Head, html, Icon, note, Nothing, Shown, Submit, sure, Text, Trouble, useEffect, useForm, useState, Waiting, Whole } from "./ui.js";
import { dateMoment, day, moment } from "./format.js";
import { t, word } from "./text.js";

const inner = (name) => name.split(".").pop();
const shown = (value) => (typeof value === "boolean" ? word("value", value) : Array.isArray(value) ? value.join(", ") : String(value)) || "–";

/** One that may be changed: a field by what it may be, and the way back where it was set here. */
function Setting({ one, form, onBack }) {
  const name = inner(one.name);
  const label = word("setting", one.name);
  const hint = t("settings.hint", { origin: word("origin", one.origin), value: shown(one.configured) });
  const given = { label, hint, ...form.field(name) };
  const field = () => {
    if (one.choices.length) {
      const number = typeof one.choices[0] === "number";
      return html`<${Choice} ...${given} onInput=${(value) => form.set(name, number ? Number(value) : value)} options=${one.choices.map((each) => [each, String(each)])} />`;
    }
    if (typeof one.value === "boolean") return html`<${Check} ...${given} />`;
    if (typeof one.value === "number") return html`<${Whole} ...${given} min=${one.minimum} max=${one.maximum} step="any" />`;
    return html`<${Text} ...${given} />`;
  };
  return html`<div class="setting">${field()}${one.origin === "here" && html`<${Button} icon="undo" kind="secondary small" label=${t("settings.back")} onClick=${() => onBack(name)} />`}</div>`;
}

function Values() {
  const form = useForm({});
  const [kept, setKept] = useState(null);
  const take = ([found, tag]) => {
    setKept({ items: found.items, tag });
    form.setValues(Object.fromEntries(found.items.filter((one) => one.live).map((one) => [inner(one.name), one.value])));
  };
  useEffect(() => { exchange("GET", "settings").then(take, form.setError); }, []);
  const send = async (change) => {
    const done = await form.send(() => exchange("PATCH", "settings", change, { tag: kept.tag }));
    if (done === undefined) return;
    take(done);
    note(t("saved"));
  };
  const changed = () => Object.fromEntries(kept.items.filter((one) => one.live && form.values[inner(one.name)] !== one.value).map((one) => [inner(one.name), form.values[inner(one.name)]]));
  const fixed = kept?.items.filter((one) => !one.live) ?? [];
  return html`<section class="card"><h2>${t("settings.values")}</h2><${Trouble} error=${form.error} />
    ${!kept && !form.error && html`<${Waiting} />`}
    ${kept && html`<form novalidate onSubmit=${(event) => { event.preventDefault(); send(changed()); }}>
      <div class="settings">${kept.items.filter((one) => one.live).map((one) => html`<${Setting} key=${one.name} one=${one} form=${form} onBack=${(name) => send({ [name]: null })} />`)}</div>
      <${Submit} label=${t("save")} busy=${form.busy} /></form>
      <details class="fixed"><summary>${t("settings.fixed", { n: fixed.length })}</summary><div class="scroll"><table class="stack"><thead><tr><th scope="col">${t("settings.name")}</th>
        <th scope="col">${t("settings.value")}</th><th scope="col">${t("settings.origin")}</th></tr></thead>
        <tbody>${fixed.map((one) => html`<tr key=${one.name}><th scope="row" data-label=${t("settings.name")}><code>${one.name}</code></th>
          <td class="wraps" data-label=${t("settings.value")}>${shown(one.value)}</td><td data-label=${t("settings.origin")}>${word("origin", one.origin)}</td></tr>`)}</tbody></table></div></details>`}</section>`;
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
      <p class="lead">${t("accounts.once")}</p><${Shown} label=${t("tokens.secret")} value=${made.secret} /><//>`;
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
