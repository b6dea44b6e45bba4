// The engines that channels run on. Owns: this page.

import { patch, post, remove } from "./api.js";
import { attempt, Badge, Button, Dialog, Head, html, Nothing, note, Submit, sure, Text, Trouble, useForm, useState, Waiting, Whole } from "./ui.js";
import { useLive } from "./live.js";
import { said, t, word } from "./text.js";

/** Whether there is an engine, and what it says of itself. */
export function Checked({ told }) {
  if (!told) return null;
  const text = told.ok ? t("engines.check.good", { version: told.version || "?" }) : (told.error && said(told, told.error)) || t("engines.check.bad");
  return html`<p class=${told.ok ? "good" : "trouble"} role="status">${text}</p>`;
}

export function useCheck(form) {
  const [told, setTold] = useState(null);
  const check = async () => {
    setTold(null);
    const found = await form.send(({ url }) => post("engines/check", { url: url.trim() }));
    if (found !== undefined) setTold(found);
  };
  return [told, check];
}

function Adding({ onClose, onDone }) {
  const form = useForm({ url: "http://", capacity: 4 });
  const [told, check] = useCheck(form);
  const add = async () => {
    const made = await form.send(({ url, capacity }) => post("engines", { url: url.trim(), capacity }));
    if (made !== undefined) {
      note(t("engines.added"));
      onDone();
    }
  };
  return html`<${Dialog} title=${t("engines.add")} onClose=${onClose} onSubmit=${add}
    footer=${html`<${Button} kind="secondary" label=${t("engines.check")} onClick=${check} />
      <span class="gap"></span><${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("add")} busy=${form.busy} />`}>
    <${Trouble} error=${form.error} />
    <${Text} label=${t("engines.url")} ...${form.field("url")} inputmode="url" autocapitalize="none" placeholder="http://127.0.0.1:6878" />
    <${Whole} label=${t("engines.capacity")} ...${form.field("capacity")} min="1" hint=${t("engines.capacity.hint")} />
    <${Checked} told=${told} /><//>`;
}

function Capacity({ engine, onClose, onDone }) {
  const form = useForm({ capacity: engine.capacity });
  const save = async () => {
    if ((await form.send((values) => patch(`engines/${engine.id}`, values))) !== undefined) onDone();
  };
  return html`<${Dialog} title=${engine.url} onClose=${onClose} onSubmit=${save}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("save")} busy=${form.busy} />`}>
    <${Trouble} error=${form.error} /><${Whole} label=${t("engines.capacity")} ...${form.field("capacity")} min="1" hint=${t("engines.capacity.hint")} /><//>`;
}

function Engine({ engine, act, onEdit }) {
  const path = `engines/${engine.id}`;
  const erase = async () => {
    if (await sure(t("engines.delete.sure", { url: engine.url }), t("delete"))) await act(() => remove(path), t("deleted"));
  };
  const drain = () => act(() => patch(path, { draining: !engine.draining }), t("saved"));
  const used = engine.sessions + engine.starting;
  return html`<li class="card"><div class="line"><div class="what"><strong class="clip">${engine.url}</strong><small>${engine.version || "–"}</small></div>
    <span class="badges"><${Badge} kind=${engine.state === "up" ? "good" : "warn"}>${word("engine.state", engine.state)}<//>${engine.draining && html`<${Badge} kind="warn">${t("engines.draining")}<//>`}</span>
    <span class="cell"><progress value=${used} max=${Math.max(1, engine.capacity)} aria-label=${t("engines.capacity")}></progress> ${t("engines.used", { used, of: engine.capacity })}</span>
    <span class="tools"><${Button} kind="secondary small" label=${engine.draining ? t("engines.undrain") : t("engines.drain")} onClick=${drain} />
      <${Button} icon="edit" text=${false} label=${t("edit.what", { name: engine.url })} onClick=${() => onEdit(engine)} />
      <${Button} icon="trash" text=${false} label=${t("delete.what", { name: engine.url })} onClick=${erase} /></span></div>
    <p class="nothing">${t("engines.counts", { starts: engine.starts, failures: engine.failures })}</p>
    ${engine.last_error && html`<p class="trouble">${said(engine, engine.last_error)}</p>`}</li>`;
}

export default function Engines() {
  const { engines, totals, error } = useLive();
  const [dialog, setDialog] = useState(null);
  const done = () => setDialog(null);
  return html`<${Head} title=${t("nav.engines")}><${Button} icon="plus" label=${t("engines.add")} onClick=${() => setDialog("add")} /><//>
    <${Trouble} error=${error} />${!totals && !error && html`<${Waiting} />`}
    ${totals && !engines.size && html`<${Nothing} text=${t("engines.none")} />`}
    <ul class="plain-list cards">${[...engines.values()].map((engine) => html`<${Engine} key=${engine.id ?? engine.url} engine=${engine} act=${attempt} onEdit=${setDialog} />`)}</ul>
    ${dialog === "add" && html`<${Adding} onClose=${() => setDialog(null)} onDone=${done} />`}
    ${dialog?.url && html`<${Capacity} engine=${dialog} onClose=${() => setDialog(null)} onDone=${done} />`}`;
}
