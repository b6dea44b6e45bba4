// What every page is built of. Owns: fields, buttons, dialogs, notes, long lists. Must not know:
// what a page is about. Text only ever becomes text: markup is made by `html` and nothing else.

import { Fragment, h, render } from "./vendor/preact.js";
import { useCallback, useEffect, useId, useLayoutEffect, useRef, useState } from "./vendor/preact-hooks.js";
import htm from "./vendor/htm.js";
import { t } from "./text.js";

export const html = htm.bind(h);
export { Fragment, render, useCallback, useEffect, useId, useLayoutEffect, useRef, useState };

// -- icons: outlines on a grid of 24 --

const SHAPES = {
  overview: "M3 12h4l3-8 4 16 3-8h4",
  channels: "M3 5h18v12H3zM8 21h8",
  guide: "M4 5h16v16H4zM4 10h16M9 3v4M15 3v4",
  lists: "M8 6h13M8 12h13M8 18h13M3 6h.01M3 12h.01M3 18h.01",
  accounts: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4 21c0-4 4-6 8-6s8 2 8 6",
  engines: "M4 4h16v7H4zM4 13h16v7H4zM8 7.500h.01M8 16.500h.01",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14M21 21l-5-5",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M16 5v4M8 15v4",
  log: "M5 3h10l4 4v14H5zM9 12h6M9 16h6",
  play: "M7 4l13 8-13 8z",
  stop: "M6 6h12v12H6z",
  restart: "M20 11a8 8 0 1 0-2 6M20 4v7h-7",
  next: "M5 4l10 8-10 8zM19 5v14",
  edit: "M4 20h4L20 8l-4-4L4 16z",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 14h10l1-14",
  plus: "M12 5v14M5 12h14",
  up: "M6 15l6-6 6 6",
  down: "M6 9l6 6 6-6",
  left: "M15 6l-6 6 6 6",
  right: "M9 6l6 6-6 6",
  close: "M6 6l12 12M18 6L6 18",
  grip: "M9 6h.01M15 6h.01M9 12h.01M15 12h.01M9 18h.01M15 18h.01",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  kick: "M15 4h5v16h-5M10 8l-4 4 4 4M6 12h10",
  undo: "M4 9h10a6 6 0 0 1 0 12h-3M8 5L4 9l4 4",
  link: "M10 14l4-4M9 17l-2 2a4 4 0 0 1-5-5l4-4M15 7l2-2a4 4 0 0 1 5 5l-4 4",
  key: "M8 15a4 4 0 1 0 0-8 4 4 0 0 0 0 8M12 11h9v4M17 11v3",
  power: "M12 3v9M6.500 7a8 8 0 1 0 11 0",
  check: "M5 12l5 5 9-10",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.500 1.500M17.500 17.500L19 19M19 5l-1.500 1.500M6.500 17.500L5 19",
  moon: "M20 14A8 8 0 0 1 10 4a8 8 0 1 0 10 10z",
  menu: "M4 6h16M4 12h16M4 18h16",
  exit: "M10 4H4v16h6M14 8l4 4-4 4M18 12H9",
  merge: "M6 4v6l6 4v6M18 4v6l-6 4",
};

export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
  <path d=${SHAPES[name]} /></svg>`;

// -- notes: what has happened, said once and read out --

let show = () => {};

export function note(text, kind = "good") {
  show({ text, kind });
}

/** Do it, and say how it went. Returns what it gave, undefined if it failed. */
export async function attempt(work, done) {
  try {
    const found = await work();
    if (done) note(typeof done === "function" ? done(found) : done);
    return found ?? null;
  } catch (error) {
    note(error.message, "bad");
    return undefined;
  }
}

const NOTE_MS = 6000;

export function Notes() {
  const [shown, setShown] = useState([]);
  useEffect(() => {
    show = (one) => {
      const made = { ...one, id: Math.random() };
      setShown((before) => [...before.filter((each) => each.text !== one.text).slice(-3), made]);
      setTimeout(() => setShown((before) => before.filter((each) => each !== made)), NOTE_MS);
    };
  }, []);
  return html`<div class="notes" role="status" aria-live="polite">
    ${shown.map((one) => html`<p key=${one.id} class="note ${one.kind}">${one.text}</p>`)}</div>`;
}

export const Trouble = ({ error }) => error && html`<p class="trouble" role="alert">${error.message}</p>`;
export const Waiting = ({ busy }) => html`<p aria-busy="true" class="waiting">${busy ?? t("waiting")}</p>`;
export const Nothing = ({ text }) => html`<p class="nothing">${text}</p>`;
export const Badge = ({ kind = "", title, children }) =>
  html`<span class="badge ${kind}" title=${title}>${children}</span>`;

// -- buttons --

/** `label` is read out; `text` false shows the icon alone. `onClick` may be async: pressing again
 *  meanwhile does nothing. It is never disabled for that: it would lose the focus. */
export function Button({ icon, label, text = true, kind = "", onClick, busy = false, ...rest }) {
  const [running, setRunning] = useState(false);
  const held = useRef(false);
  const press = async (event) => {
    if (held.current) return;
    const work = onClick?.(event);
    if (!(work instanceof Promise)) return;
    held.current = true;
    setRunning(true);
    try {
      await work;
    } finally {
      held.current = false;
      setRunning(false);
    }
  };
  const title = text ? undefined : label;
  return html`<button type="button" class="${text ? "" : "bare"} ${kind}" title=${title} aria-label=${title}
    aria-busy=${running || busy ? "true" : undefined} onClick=${press} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${text && html`<span>${label}</span>`}</button>`;
}

export function Copy({ text, label = t("copy") }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // only where the page is not secure
      const field = Object.assign(document.createElement("textarea"), { value: text });
      (document.querySelector("dialog[open]") || document.body).append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    note(t("copied"));
  };
  return html`<${Button} icon="copy" label=${label} text=${false} onClick=${copy} />`;
}

export const Shown = ({ label, value }) => {
  const id = useId();
  return html`<div class="shown"><label for=${id}>${label}</label>
    <div class="joined"><input id=${id} readonly value=${value} onFocus=${(event) => event.target.select()} />
    <${Copy} text=${value} label=${t("copy.what", { what: label })} /></div></div>`;
};

// -- fields --

function Described({ id, label, hint, problem, children, kind = "" }) {
  return html`<div class="field ${kind}"><label for=${id}>${label}</label>${children}
    ${(problem || hint) && html`<small id="${id}-about" class=${problem ? "problem" : ""}>${problem || hint}</small>`}</div>`;
}

const about = (id, hint, problem) => ({
  id,
  "aria-describedby": problem || hint ? `${id}-about` : undefined,
  "aria-invalid": problem ? "true" : undefined,
});

export function Text({ label, value, onInput, hint, problem, ...rest }) {
  const id = useId();
  return html`<${Described} ...${{ id, label, hint, problem }}>
    <input ...${about(id, hint, problem)} value=${value ?? ""} onInput=${(event) => onInput(event.target.value)} ...${rest} /><//>`;
}

export function Area({ label, value, onInput, hint, problem, ...rest }) {
  const id = useId();
  return html`<${Described} ...${{ id, label, hint, problem }}>
    <textarea ...${about(id, hint, problem)} value=${value ?? ""} onInput=${(event) => onInput(event.target.value)} ...${rest}></textarea><//>`;
}

export function Whole({ label, value, onInput, ...rest }) {
  const take = (text) => onInput(text === "" ? null : Number(text));
  return html`<${Text} type="number" inputmode="numeric" label=${label} value=${value ?? ""} onInput=${take} ...${rest} />`;
}

export function Check({ label, value, onInput, hint, ...rest }) {
  return html`<label class="check"><input type="checkbox" role=${rest.role} checked=${value}
    onChange=${(event) => onInput(event.target.checked)} ...${rest} /> <span>${label}${hint && html`<small>${hint}</small>`}</span></label>`;
}

/** `options`: pairs of value and label. `hidden`: the label is only read out. */
export function Choice({ label, value, onInput, options, hint, problem, hidden = false, ...rest }) {
  const id = useId();
  const select = html`<select ...${about(id, hint, problem)} value=${value} aria-label=${hidden ? label : undefined}
    onChange=${(event) => onInput(event.target.value)} ...${rest}>
    ${options.map(([key, text]) => html`<option key=${key} value=${key} selected=${String(key) === String(value)}>${text}</option>`)}</select>`;
  return hidden ? select : html`<${Described} ...${{ id, label, hint, problem }}>${select}<//>`;
}

/** A field to search in; tells what was typed once typing rests. */
export function Search({ label, value, onInput }) {
  const [typed, setTyped] = useState(value);
  const due = useRef(0);
  const take = (event) => {
    const text = event.target.value;
    setTyped(text);
    clearTimeout(due.current);
    due.current = setTimeout(() => onInput(text), 250);
  };
  return html`<input type="search" class="search" aria-label=${label} placeholder=${label} value=${typed} onInput=${take} />`;
}

/** Several out of a few: boxes. `options`: pairs of value and label. */
export function Several({ label, value, onInput, options }) {
  const flip = (key, on) => onInput(on ? [...value, key] : value.filter((one) => one !== key));
  return html`<fieldset class="several"><legend>${label}</legend><div>
    ${options.map(([key, text]) => html`<${Check} key=${key} label=${text} value=${value.includes(key)} onInput=${(on) => flip(key, on)} />`)}
    </div></fieldset>`;
}

export function Tabs({ label, value, onInput, options }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const at = options.findIndex(([key]) => key === value);
    const next = options[(at + step + options.length) % options.length][0];
    onInput(next);
    event.currentTarget.querySelector(`[data-key="${next}"]`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${move}>
    ${options.map(([key, text]) => html`<button type="button" role="tab" key=${key} data-key=${key} class="tab"
      aria-selected=${key === value ? "true" : "false"} tabindex=${key === value ? 0 : -1} onClick=${() => onInput(key)}>${text}</button>`)}</div>`;
}

// -- dialogs --

/** A modal one, closed by its button, by Escape and by `onClose`'s caller. */
export function Dialog({ title, onClose, children, footer, wide = false, onSubmit }) {
  const dialog = useRef(null);
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    const shown = dialog.current;
    shown.showModal();
    return () => {
      shown.close(); // as long as it is open, nothing else can have the focus
      before?.focus?.();
    };
  }, []);
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  return html`<dialog ref=${dialog} class=${wide ? "wide" : ""} aria-labelledby=${id}
    onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <article><header><h2 id=${id}>${title}</h2><${Button} icon="close" label=${t("close")} text=${false} onClick=${onClose} /></header>
    <form novalidate onSubmit=${submit}>${children}${footer && html`<footer>${footer}</footer>`}</form></article></dialog>`;
}

export const Submit = ({ label, busy, kind = "", disabled }) =>
  html`<button type="submit" class=${kind} disabled=${busy || disabled} aria-busy=${busy ? "true" : undefined}>${label}</button>`;

let question = () => {};

/** Whether they are sure: a promise. */
export const sure = (text, action) => new Promise((answer) => question({ text, action, answer }));

export function Question() {
  const [asked, setAsked] = useState(null);
  useEffect(() => {
    question = setAsked;
  }, []);
  if (!asked) return null;
  const done = (yes) => {
    setAsked(null);
    asked.answer(yes);
  };
  return html`<${Dialog} title=${t("sure")} onClose=${() => done(false)} onSubmit=${() => done(true)}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${() => done(false)} /><${Submit} kind="danger" label=${asked.action} />`}>
    <p>${asked.text}</p><//>`;
}

/** The values of a form and what is wrong with them: `field(name)` are the properties of a field. */
export function useForm(initial) {
  const [values, setValues] = useState(initial);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const set = (name, value) => setValues((before) => ({ ...before, [name]: value }));
  const field = (name) => ({
    value: values[name],
    onInput: (value) => set(name, value),
    problem: error?.fields?.[name],
    name,
  });
  const send = async (work) => {
    setBusy(true);
    setError(null);
    try {
      return (await work(values)) ?? null;
    } catch (problem) {
      setError(problem);
      return undefined;
    } finally {
      setBusy(false);
    }
  };
  return { values, set, setValues, field, send, busy, error, setError };
}

// -- long lists --

const AROUND = 8; // rows drawn beyond what is seen

/** A list of which only what is seen is drawn. `list`: see `useChunks`. `row(item, index)`. */
export function WindowedList({ list, height, row, label, id = (item) => item.id }) {
  const box = useRef(null);
  const [seen, setSeen] = useState({ from: 0, to: 30 });
  const look = useCallback(() => {
    if (!box.current) return;
    const { scrollTop, clientHeight } = box.current;
    const from = Math.max(0, Math.floor(scrollTop / height) - AROUND);
    const to = Math.ceil((scrollTop + clientHeight) / height) + AROUND;
    setSeen((before) => (before.from === from && before.to === to ? before : { from, to }));
  }, [height]);
  useLayoutEffect(() => {
    look();
    const watch = new ResizeObserver(look);
    watch.observe(box.current);
    return () => watch.disconnect();
  }, [look]);
  const to = Math.min(seen.to, list.total);
  useEffect(() => list.need(seen.from, Math.max(seen.from, to - 1)));
  const rows = [];
  for (let index = Math.min(seen.from, to); index < to; index += 1) {
    const item = list.at(index);
    rows.push(html`<div role="listitem" class="row" key=${item ? id(item) : `empty-${index}`} aria-setsize=${list.total}
      aria-posinset=${index + 1} data-index=${index} style=${{ top: `${index * height}px`, height: `${height}px` }}>
      ${item ? row(item, index) : html`<span class="ghost"></span>`}</div>`);
  }
  return html`<div class="windowed" ref=${box} onScroll=${look} tabindex="0" role="region" aria-label=${label}>
    <div role="list" class="rows" style=${{ height: `${list.total * height}px` }}>${rows}</div></div>`;
}

/** Whether the screen is narrower than a phone's two thumbs. */
export function useNarrow() {
  const query = useRef(matchMedia("(max-width: 700px)"));
  const [narrow, setNarrow] = useState(query.current.matches);
  useEffect(() => {
    const look = () => setNarrow(query.current.matches);
    query.current.addEventListener("change", look);
    return () => query.current.removeEventListener("change", look);
  }, []);
  return narrow;
}

/** A script that is no module, once. */
const scripts = new Map();
export function script(url) {
  if (!scripts.has(url)) {
    scripts.set(url, new Promise((done, failed) => {
      const element = Object.assign(document.createElement("script"), { src: url, onload: done, onerror: failed });
      document.head.append(element);
    }));
  }
  return scripts.get(url);
}

export const Head = ({ title, children }) => html`<div class="head"><h1>${title}</h1><div class="tools">${children}</div></div>`;
