// Playlists and guides: where the line-up comes from. Owns: this page: what an import would change,
// how far it is, what came of it, taking it back.

import { exchange, patch, post, remove, useGet } from "./api.js";
import { Area, attempt, Badge, Button, Check, Choice, Dialog, Head, html, note, Nothing, Submit, sure, Text, Trouble, useCallback, useEffect, useForm, useState, Waiting, Whole } from "./ui.js";
import { duration, moment, number } from "./format.js";
import { useEvents } from "./live.js";
import { t, word } from "./text.js";

const NAMES_SHOWN = 200;
const HOUR = 3600;

/** A report in words: its numbers, its warnings, its names by what happens to them. */
export function Report({ report }) {
  if (!report) return null;
  const counts = Object.entries(report).filter(([, value]) => typeof value === "number" && value !== 0);
  const named = Object.entries(report.diff ?? report.names ?? {}).filter(([, names]) => Array.isArray(names) && names.length);
  const warnings = report.warnings || [];
  return html`<div class="report">
    ${counts.length > 0 && html`<ul class="facts">${counts.map(([name, value]) => html`<li key=${name}><strong>${number(value)}</strong> ${word("report", name)}</li>`)}</ul>`}
    ${named.map(([name, names]) => html`<details key=${name}><summary>${word("report", name)} (${number(names.length)})</summary>
      <ul class="names">${names.slice(0, NAMES_SHOWN).map((one, at) => html`<li key=${at}>${typeof one === "string" ? one : one.name}</li>`)}
      ${names.length > NAMES_SHOWN && html`<li>${t("more", { n: names.length - NAMES_SHOWN })}</li>`}</ul></details>`)}
    ${warnings.length > 0 && html`<details><summary class="warn">${t("lists.warnings", { n: warnings.length })}</summary>
      <ul class="names">${warnings.slice(0, NAMES_SHOWN).map((one, at) => html`<li key=${at}>${typeof one === "string" ? one : one.text ?? JSON.stringify(one)}</li>`)}</ul></details>`}</div>`;
}

export const KINDS = () => [["playlist", t("lists.kind.playlist")], ["guide", t("lists.kind.guide")]];

/** The fields that only some need. */
function More({ form, kind }) {
  const { field } = form;
  return html`<details><summary>${t("lists.more")}</summary>
    <${Text} label=${t("lists.user_agent")} ...${field("user_agent")} />
    ${kind === "playlist" && html`<${Check} label=${t("lists.merge_names")} hint=${t("lists.merge_names.hint")} ...${field("merge_names")} />
      <${Whole} label=${t("lists.retire_days")} ...${field("retire_days")} min="0" />`}
    ${kind === "guide" && html`<${Whole} label=${t("lists.priority")} ...${field("priority")} hint=${t("lists.priority.hint")} />`}</details>`;
}

const FRESH = { kind: "playlist", name: "", url: "", body: "", hours: 6, priority: 100, user_agent: "", merge_names: false, retire_days: 7 };
const settings = (values) => ({
  name: values.name, interval_seconds: Math.round((values.hours || 0) * HOUR), user_agent: values.user_agent, priority: values.priority,
  ...(values.kind === "playlist" ? { merge_names: values.merge_names, retire_days: values.retire_days } : {}),
});

export function Adding({ initial = {}, onClose, onDone }) {
  const form = useForm({ ...FRESH, ...initial });
  const [report, setReport] = useState(null);
  const { values, field } = form;
  const file = async (event) => {
    const chosen = event.target.files[0];
    if (chosen) form.set("body", await chosen.text());
  };
  const given = () => ({ kind: values.kind, ...(values.body ? { body: values.body } : { url: values.url.trim() }), user_agent: values.user_agent, ...(values.kind === "playlist" ? { merge_names: values.merge_names } : {}) });
  const preview = async () => {
    const told = await form.send(() => post("lists/preview", given()));
    if (told !== undefined) setReport(told);
  };
  const add = async () => {
    const made = await form.send(() => post("lists", { kind: values.kind, ...(values.body ? { body: values.body } : { url: values.url.trim() }), ...settings(values) }));
    if (made !== undefined) {
      note(t("lists.added"));
      onDone(made);
    }
  };
  return html`<${Dialog} wide=${true} title=${t("lists.add")} onClose=${onClose} onSubmit=${report ? add : preview}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} />
      <${Button} kind=${report ? "secondary" : "secondary outline"} label=${t("lists.add.now")} onClick=${add} disabled=${!values.url && !values.body} />
      <${Submit} label=${report ? t("lists.import") : t("lists.preview")} busy=${form.busy} disabled=${!values.url && !values.body} />`}>
    <${Trouble} error=${form.error} />
    <div class="grid"><${Choice} label=${t("lists.kind")} ...${field("kind")} options=${KINDS()} /><${Text} label=${t("lists.name")} ...${field("name")} /></div>
    <${Text} label=${t("lists.url")} ...${field("url")} type="text" inputmode="url" placeholder="https://…" autocapitalize="none" disabled=${Boolean(values.body)} />
    <details><summary>${t("lists.paste")}</summary><${Area} label=${t("lists.text")} ...${field("body")} rows="5" spellcheck="false" />
      <label>${t("lists.file")}<input type="file" accept=".m3u,.m3u8,.txt,.xml,.xmltv" onChange=${file} /></label></details>
    <${Whole} label=${t("lists.hours")} ...${field("hours")} min="1" step="1" />
    <${More} form=${form} kind=${values.kind} />
    ${report && html`<h3>${t("lists.would")}</h3><${Report} report=${{ ...report.report, diff: report.diff }} />`}<//>`;
}

function Editing({ id, onClose, onDone }) {
  const form = useForm(FRESH);
  const [kept, setKept] = useState(null);
  useEffect(() => {
    exchange("GET", `lists/${id}`).then(([found, tag]) => {
      setKept({ ...found, tag });
      form.setValues({ ...FRESH, ...found, url: found.url ?? "", hours: found.interval_seconds / HOUR });
    }, form.setError);
  }, [id]);
  const save = async () => {
    const done = await form.send((values) => patch(`lists/${id}`, { ...settings(values), enabled: values.enabled, ...(values.url && values.url !== kept.url ? { url: values.url } : {}) }, kept.tag));
    if (done !== undefined) onDone();
  };
  const { field } = form;
  return html`<${Dialog} wide=${true} title=${t("lists.edit")} onClose=${onClose} onSubmit=${save}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("save")} busy=${form.busy} disabled=${!kept} />`}>
    <${Trouble} error=${form.error} />${!kept && !form.error && html`<${Waiting} />`}
    ${kept && html`<${Text} label=${t("lists.name")} ...${field("name")} /><${Text} label=${t("lists.url")} ...${field("url")} hint=${t("lists.url.kept", { url: kept.shown_url })} />
      <${Whole} label=${t("lists.hours")} ...${field("hours")} min="1" /><${Check} label=${t("lists.enabled")} ...${field("enabled")} />
      <${More} form=${form} kind=${kept.kind} />`}<//>`;
}

const ENDED = ["done", "failed"];
const stepOf = (told) => told.step ?? told.state;

/** How far its import is; nothing once that has ended. */
function Progress({ told }) {
  if (!told || ENDED.includes(stepOf(told))) return null;
  return html`<div class="progress"><label>${word("lists.phase", stepOf(told))}
    <progress value=${told.all_bytes ? told.done_bytes : undefined} max=${told.all_bytes || undefined}></progress></label></div>`;
}

function List({ list, told, act, onEdit }) {
  const path = `lists/${list.id}`;
  const name = list.name || list.shown_url;
  const erase = async () => {
    if (await sure(t("lists.delete.sure", { name }), t("delete"))) await act(() => remove(path), t("deleted"));
  };
  const undo = async () => {
    if (await sure(t("lists.undo.sure", { name }), t("lists.undo"))) await act(() => post(`${path}/undo`), t("lists.undone"));
  };
  return html`<li class="card"><div class="line"><div class="what"><strong class="clip">${name}</strong><small class="clip">${list.shown_url}</small></div>
    <span class="badges"><${Badge}>${word("lists.kind", list.kind)}<//>${!list.enabled && html`<${Badge} kind="off">${t("lists.disabled")}<//>`}
      ${list.last_error ? html`<${Badge} kind="bad">${t("lists.failed")}<//>` : list.succeeded_at && html`<${Badge} kind="good">${t("lists.good")}<//>`}</span>
    <span class="tools"><${Button} icon="restart" kind="secondary small" label=${t("lists.refresh")} onClick=${() => act(() => post(`${path}/refresh`, { force: true }), t("lists.refreshing"))} />
      ${list.kind === "playlist" && html`<${Button} icon="undo" text=${false} label=${t("lists.undo.what", { name })} onClick=${undo} />`}
      <${Button} icon="edit" text=${false} label=${t("edit.what", { name })} onClick=${() => onEdit(list.id)} />
      <${Button} icon="trash" text=${false} label=${t("delete.what", { name })} onClick=${erase} /></span></div>
    <p class="nothing">${t("lists.when", { at: moment(list.refreshed_at), every: duration(list.interval_seconds) })}</p>
    <${Progress} told=${told} />
    ${list.last_error && html`<p class="trouble">${list.last_error}</p>`}
    <${Report} report=${list.last_result} /></li>`;
}

export default function Lists() {
  const { data, error, busy, reload } = useGet("lists", { limit: 1000 });
  const [dialog, setDialog] = useState(null);
  const [running, setRunning] = useState({});
  useEvents("import", useCallback((told) => {
    setRunning((before) => ({ ...before, [told.list_id]: told }));
    if (ENDED.includes(stepOf(told))) reload();
  }, [reload]));
  const act = async (work, done) => {
    if ((await attempt(work, done)) !== undefined) await reload();
  };
  const done = () => {
    setDialog(null);
    reload();
  };
  return html`<${Head} title=${t("nav.lists")}><${Button} icon="plus" label=${t("lists.add")} onClick=${() => setDialog({ add: true })} /><//>
    <${Trouble} error=${error} />${busy && !data && html`<${Waiting} />`}
    ${data && !data.items.length && html`<${Nothing} text=${t("lists.none")} />`}
    <ul class="plain-list cards">${(data?.items ?? []).map((list) => html`<${List} key=${list.id} list=${list} told=${running[list.id]} act=${act} onEdit=${(id) => setDialog({ edit: id })} />`)}</ul>
    ${dialog?.add && html`<${Adding} onClose=${() => setDialog(null)} onDone=${done} />`}
    ${dialog?.edit && html`<${Editing} id=${dialog.edit} onClose=${() => setDialog(null)} onDone=${done} />`}`;
}
