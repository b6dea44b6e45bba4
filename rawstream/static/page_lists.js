// Playlists and guides: where the line-up comes from. Owns: this page: what an import would change,
// how far it is, what came of it, taking it back.

import { exchange, patch, post, remove, upload, useGet } from "./api.js";
import { Area, attempt, Badge, Button, Check, Choice, Dialog, Head, html, note, Nothing, Submit, sure, Text, Trouble, useCallback, useEffect, useForm, useRef, useState, Waiting, Whole } from "./ui.js";
import { moment, number } from "./format.js";
import { useEvents } from "./live.js";
import { said, t, word } from "./text.js";

const HOUR = 3600;

/** A report in words: its numbers, its names by what happens to them, its warnings. */
export function Report({ report }) {
  const of = report.playlist ?? report.guide;
  const counts = Object.entries(of).filter(([, value]) => typeof value === "number" && value !== 0);
  const named = report.playlist
    ? Object.entries(of.names).filter(([, names]) => names.length)
    : [["matched", Object.entries(of.names).map(([ours, theirs]) => `${ours} → ${theirs}`)]];
  return html`<div class="report">
    ${!report.complete && html`<p class="trouble">${t("lists.incomplete")}</p>`}
    <ul class="facts">${counts.map(([name, value]) => html`<li key=${name}><strong>${number(value)}</strong> ${word("report", name)}</li>`)}</ul>
    ${named.map(([name, names]) => html`<details key=${name}><summary>${word("report", name)} (${number(of[name] ?? names.length)})</summary>
      <ul class="names">${names.map((one, at) => html`<li key=${at}>${one}</li>`)}
      ${of[name] > names.length && html`<li>${t("more", { n: number(of[name] - names.length) })}</li>`}</ul></details>`)}
    ${report.warning_count > 0 && html`<details><summary class="warn">${t("lists.warnings", { n: report.warning_count })}</summary>
      <ul class="names">${report.warnings.map((one, at) => html`<li key=${at}>${one.line ? `${one.line}: ` : ""}${said(one, one.problem)}</li>`)}</ul></details>`}</div>`;
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

const FRESH = { kind: "playlist", name: "", url: "", text: "", file: null, hours: null, priority: 100, user_agent: "", merge_names: false, retire_days: 7 };
const settings = (values) => ({
  name: values.name, user_agent: values.user_agent, priority: values.priority,
  ...(values.hours === null ? {} : { interval_seconds: Math.round(values.hours * HOUR) }),
  ...(values.kind === "playlist" ? { merge_names: values.merge_names, retire_days: values.retire_days } : {}),
});

export function Adding({ onClose, onDone }) {
  const form = useForm(FRESH);
  const [report, setReport] = useState(null);
  const [sent, setSent] = useState(null);
  const uploaded = useRef(new Map());
  const { values, field } = form;
  const ready = Boolean(values.url || values.text || values.file);
  /** Where the document is; a file is sent once, however often it is looked at. */
  const place = async () => {
    if (values.text) return { text: values.text };
    if (!values.file) return { url: values.url.trim() };
    if (!uploaded.current.has(values.file)) uploaded.current.set(values.file, await upload("lists/uploads", values.file, setSent));
    setSent(null);
    return { upload_id: uploaded.current.get(values.file) };
  };
  const preview = async () => {
    const told = await form.send(async () => post("lists/preview", {
      kind: values.kind, ...(await place()), user_agent: values.user_agent,
      ...(values.kind === "playlist" ? { merge_names: values.merge_names } : {}),
    }));
    if (told !== undefined) setReport(told);
  };
  const add = async () => {
    const made = await form.send(async () => post("lists", { kind: values.kind, ...(await place()), ...settings(values) }));
    if (made !== undefined) {
      note(t("lists.added"));
      onDone(made);
    }
  };
  return html`<${Dialog} wide=${true} title=${t("lists.add")} onClose=${onClose} onSubmit=${report ? add : preview}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} />
      ${!report && html`<${Button} kind="secondary" label=${t("lists.add.now")} onClick=${add} disabled=${!ready} />`}
      <${Submit} label=${report ? t("lists.import") : t("lists.preview")} busy=${form.busy} disabled=${!ready} />`}>
    <${Trouble} error=${form.error} />
    <div class="grid"><${Choice} label=${t("lists.kind")} ...${field("kind")} options=${KINDS()} /><${Text} label=${t("lists.name")} ...${field("name")} /></div>
    <${Text} label=${t("lists.url")} ...${field("url")} type="text" inputmode="url" placeholder="https://…" autocapitalize="none" disabled=${Boolean(values.text || values.file)} />
    <details><summary>${t("lists.paste")}</summary><${Area} label=${t("lists.text")} ...${field("text")} rows="5" spellcheck="false" disabled=${Boolean(values.file)} />
      <label>${t("lists.file")}<input type="file" accept=".m3u,.m3u8,.txt,.xml,.xmltv,.gz,.xz" onChange=${(event) => form.set("file", event.target.files[0] ?? null)} /></label></details>
    <${Whole} label=${t("lists.hours")} ...${field("hours")} min="0" step="1" hint=${t("lists.hours.hint")} />
    <${More} form=${form} kind=${values.kind} />
    ${sent !== null && html`<div class="progress"><label>${t("lists.sending")} <progress value=${sent} max="1"></progress></label></div>`}
    ${report && html`<h3>${t("lists.would")}</h3><${Report} report=${report} />`}<//>`;
}

function Editing({ id, onClose, onDone }) {
  const form = useForm(FRESH);
  const [kept, setKept] = useState(null);
  useEffect(() => {
    exchange("GET", `lists/${id}`).then(([found, tag]) => {
      setKept({ ...found, tag });
      form.setValues({ ...FRESH, ...found, url: found.url ?? "", hours: found.interval_seconds / HOUR, enabled: found.enabled && !found.held });
    }, form.setError);
  }, [id]);
  /** One box for both: a list that is held stays so until somebody ticks it. */
  const alone = (enabled) => (kept.held && !enabled ? {} : { enabled, held: false });
  const save = async () => {
    const done = await form.send((values) => patch(`lists/${id}`, { ...settings(values), ...alone(values.enabled), ...(values.url && values.url !== kept.url ? { url: values.url } : {}) }, kept.tag));
    if (done !== undefined) onDone();
  };
  const { field } = form;
  return html`<${Dialog} wide=${true} title=${t("lists.edit")} onClose=${onClose} onSubmit=${save}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("save")} busy=${form.busy} disabled=${!kept} />`}>
    <${Trouble} error=${form.error} />${!kept && !form.error && html`<${Waiting} />`}
    ${kept && html`<${Text} label=${t("lists.name")} ...${field("name")} /><${Text} label=${t("lists.url")} ...${field("url")} disabled=${kept.uploaded} placeholder=${kept.uploaded ? t("lists.uploaded") : "https://…"} />
      <${Whole} label=${t("lists.hours")} ...${field("hours")} min="0" step="any" hint=${t("lists.hours.hint.edit")} /><${Check} label=${t("lists.enabled")} ...${field("enabled")} />
      <${More} form=${form} kind=${kept.kind} />`}<//>`;
}

const ENDED = ["done", "failed"];
const STATE_KINDS = { well: "good", failed: "bad", off: "off", held: "off", fetching: "warn", reading: "warn", waiting: "warn" };

/** How far its import is. */
function Progress({ at }) {
  return html`<div class="progress"><label>${word("lists.state", at.step)}
    <progress value=${at.all_bytes ? at.done_bytes : undefined} max=${at.all_bytes || undefined}></progress></label></div>`;
}

/** What came of it, asked for when somebody wants to know. */
function Result({ list }) {
  const [open, setOpen] = useState(false);
  const { data, error } = useGet(open ? `lists/${list.id}/result` : "", { of: list.refreshed_at });
  return html`<details class="result" onToggle=${(event) => event.target === event.currentTarget && setOpen(event.target.open)}><summary>${t("lists.result")}</summary>
    ${open && html`<${Trouble} error=${error} />${data?.report && html`<${Report} report=${data.report} />`}`}</details>`;
}

/** When it was read, and when it is read again: by itself, or only when somebody asks for it. */
function when(list) {
  const at = moment(list.refreshed_at);
  if (!list.refreshed_at) return list.enabled && !list.interval_seconds ? t("lists.when.never.hand") : t("lists.when.never");
  if (list.next_at) return t("lists.when", { at, next: moment(list.next_at) });
  return list.enabled ? t("lists.when.hand", { at }) : t("lists.when.once", { at });
}

function List({ list, told, act, onEdit }) {
  const path = `lists/${list.id}`;
  const name = list.name || list.shown_url;
  const progress = told ? (ENDED.includes(told.step) ? null : told) : list.progress;
  const state = progress?.step ?? list.state;
  const erase = async () => {
    if (await sure(t("lists.delete.sure", { name }), t("delete"))) await act(() => remove(path), t("deleted"));
  };
  const undo = async () => {
    if (await sure(t("lists.undo.sure", { name }), t("lists.undo"))) await act(() => post(`${path}/undo`), t("lists.undone"));
  };
  return html`<li class="card"><div class="line"><div class="what"><strong class="clip">${name}</strong><small class="clip">${list.shown_url}</small></div>
    <span class="badges"><${Badge}>${word("lists.kind", list.kind)}<//><${Badge} kind=${STATE_KINDS[state] ?? ""}>${word("lists.state", state)}<//></span>
    <span class="tools"><${Button} icon="restart" kind="secondary small" label=${t("lists.refresh")} onClick=${() => act(() => post(`${path}/refresh`, { force: true }), t("lists.refreshing"))} />
      ${list.kind === "playlist" && html`<${Button} icon="undo" text=${false} label=${t("lists.undo.what", { name })} onClick=${undo} disabled=${!list.can_undo} />`}
      <${Button} icon="edit" text=${false} label=${t("edit.what", { name })} onClick=${() => onEdit(list.id)} />
      <${Button} icon="trash" text=${false} label=${t("delete.what", { name })} onClick=${erase} /></span></div>
    <p class="nothing">${when(list)}</p>
    ${list.held && html`<p class="nothing">${t("lists.held")}</p>`}
    ${progress && html`<${Progress} at=${progress} />`}
    ${list.last_error && html`<p class="trouble">${said(list.last_error_coded ?? {}, list.last_error)}</p>`}
    ${list.succeeded_at && html`<${Result} list=${list} />`}</li>`;
}

export default function Lists() {
  const { data, error, busy, reload } = useGet("lists", { limit: 1000 });
  const [dialog, setDialog] = useState(null);
  const [running, setRunning] = useState({});
  useEvents("import", useCallback((told) => {
    setRunning((before) => ({ ...before, [told.list_id]: told }));
    if (ENDED.includes(told.step)) reload();
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
