// The line-up. Owns: this page: the long list, what is edited in its rows, the order.

import { address, exchange, get, patch, post, Problem, remove, useChunks, useGet } from "./api.js";
import { attempt, Badge, Button, Check, Choice, Dialog, Head, html, Icon, note, Nothing, Search, Several, Submit, sure, Tabs, Text, Trouble, useEffect, useForm, useNarrow, useRef, useState, Whole, WindowedList } from "./ui.js";
import { number } from "./format.js";
import Player from "./player.js";
import Categories from "./categories.js";
import SeriesList from "./series.js";
import { t, word } from "./text.js";
import { useLayoutEffect, Waiting } from "./ui.js";

const HEIGHT = 56;
const HEIGHT_NARROW = 92;
const EDGE = 60; // pixels from the edge of the list where dragging scrolls it

/** Text that becomes a field when it is pressed. Enter and going elsewhere keep, Escape gives up. */
function Inline({ value, label, onSave, kind = "" }) {
  const [text, setText] = useState(null);
  const button = useRef(null);
  const open = useRef(false);
  const back = useRef(false); // whether the button gets the focus that the field had
  useLayoutEffect(() => {
    if (text !== null || !back.current) return;
    back.current = false;
    button.current.focus();
  }, [text]);
  const begin = () => {
    open.current = true;
    setText(value);
  };
  const end = (keep, stays) => {
    if (!open.current) return; // a browser tells of a blur, too, when the field is taken away
    open.current = false;
    if (keep && text !== value) onSave(text);
    back.current = stays;
    setText(null);
  };
  const keys = (event) => {
    if (event.key === "Enter") {
      event.preventDefault(); // or it would press the button that has the focus by then
      end(true, true);
    }
    if (event.key === "Escape") end(false, true);
  };
  if (text === null) {
    return html`<button type="button" ref=${button} class="inline clip ${kind}" title=${value} aria-label=${t("channels.change", { what: label, value })}
      onClick=${begin}>${value || "–"}</button>`;
  }
  return html`<input class="inline ${kind}" aria-label=${label} value=${text} ref=${(field) => field && document.activeElement !== field && field.focus()}
    onInput=${(event) => setText(event.target.value)} onKeyDown=${keys} onBlur=${() => end(true, false)} />`;
}

/** A number that is another one for another text and tells nothing of it (FNV-1a): addresses of
 * logos may hold passwords, and ours are written into the logs of proxies. */
function mark(text) {
  let sum = 0x811c9dc5;
  for (const character of text) sum = Math.imul(sum ^ character.codePointAt(0), 0x01000193);
  return (sum >>> 0).toString(36);
}

function Logo({ channel }) {
  const [bad, setBad] = useState(false);
  if (!channel.logo || bad) return html`<span class="logo none" aria-hidden="true">${channel.name.slice(0, 1)}</span>`;
  const ours = channel.logo.startsWith("/logos/");
  return html`<img class="logo" src=${ours ? new URL(channel.logo.slice(1), document.baseURI).href : address(`channels/${channel.id}/logo`, { of: mark(channel.logo) })} alt="" loading="lazy" onError=${() => setBad(true)} />`;
}

function States({ channel }) {
  return html`<span class="badges">
    ${!channel.enabled && html`<${Badge} kind="off">${t("channels.disabled")}<//>`}
    ${channel.retired_at && html`<${Badge} kind="bad">${t("channels.retired")}<//>`}
    ${channel.stale_since && !channel.retired_at && html`<${Badge} kind="warn">${t("channels.stale")}<//>`}
    ${channel.adult && html`<${Badge}>18+<//>`}
    ${channel.radio && html`<${Badge}>${t("channels.radio")}<//>`}
    ${channel.kind !== "live" && html`<${Badge}>${word("channels.kind", channel.kind)}<//>`}
    ${!channel.sources.length && html`<${Badge} kind="bad">${t("channels.no_source")}<//>`}
    ${channel.kind === "live" && !channel.guide?.guide_id && html`<${Badge} kind="off">${t("channels.no_guide")}<//>`}</span>`;
}

function Row({ channel, index, names, picked, onPick, onSave, onPlay, onEdit, grip }) {
  return html`<div class="channel">
    ${grip(channel, index)}
    <input type="checkbox" aria-label=${t("channels.pick", { name: channel.name })} checked=${picked} onChange=${(event) => onPick(channel.id, event.target.checked)} />
    <${Logo} key=${channel.logo} channel=${channel} />
    <${Inline} kind="number" value=${channel.number} label=${t("channels.number")} onSave=${(value) => onSave(channel, index, { number: value })} />
    <div class="what"><${Inline} value=${channel.name} label=${t("channels.name")} onSave=${(value) => onSave(channel, index, { name: value })} />
      <small class="clip">${channel.categories.map((one) => names.get(one) || one).join(", ") || "–"} · ${t("channels.sources.n", { n: channel.sources.length })}</small></div>
    <${States} channel=${channel} />
    <span class="tools"><${Button} icon="play" text=${false} label=${t("play.what", { name: channel.name })} onClick=${() => onPlay(channel)} />
      <${Button} icon="edit" text=${false} label=${t("edit.what", { name: channel.name })} onClick=${() => onEdit(channel)} /></span></div>`;
}

/** Dragging by a handle, with the pointer or with the arrow keys. `move(from, to)`: indexes, `to`
 *  being where it shall stand among the others. */
function useDrag(box, height, total, move) {
  const [drag, setDrag] = useState(null);
  const state = useRef(null);
  const scroller = () => box.current.querySelector(".windowed");
  const target = (y) => {
    const frame = scroller().getBoundingClientRect();
    return Math.max(0, Math.min(total, Math.round((y - frame.top + scroller().scrollTop) / height)));
  };
  const turn = () => {
    if (!state.current) return;
    const frame = scroller().getBoundingClientRect();
    const { y } = state.current;
    if (y < frame.top + EDGE) scroller().scrollTop -= 12;
    if (y > frame.bottom - EDGE) scroller().scrollTop += 12;
    state.current.to = target(y);
    setDrag({ from: state.current.from, to: state.current.to });
    requestAnimationFrame(turn);
  };
  const begin = (event, index) => {
    event.preventDefault();
    event.target.setPointerCapture?.(event.pointerId);
    state.current = { from: index, y: event.clientY, to: index };
    requestAnimationFrame(turn);
    const follow = (moved) => { if (state.current) state.current.y = moved.clientY; };
    const stop = (ended) => {
      removeEventListener("pointermove", follow);
      removeEventListener("pointerup", stop);
      removeEventListener("pointercancel", stop);
      const { from } = state.current;
      const to = target(ended.clientY);
      state.current = null;
      setDrag(null);
      if (ended.type === "pointerup" && to !== from && to !== from + 1) move(from, to);
    };
    addEventListener("pointermove", follow);
    addEventListener("pointerup", stop);
    addEventListener("pointercancel", stop);
  };
  const grip = (channel, index) => {
    const keys = (event) => {
      if (event.key === "ArrowUp" && index > 0) { event.preventDefault(); move(index, index - 1); }
      if (event.key === "ArrowDown" && index < total - 1) { event.preventDefault(); move(index, index + 2); }
    };
    return html`<button type="button" class="bare grip" aria-label=${t("channels.move", { name: channel.name })} title=${t("channels.move.how")}
      onPointerDown=${(event) => begin(event, index)} onKeyDown=${keys}><${Icon} name="grip" /></button>`;
  };
  return [grip, drag];
}

/** Its sources, best first. Each is a link in any spelling, or one that is there already. */
function Sources({ value, onInput, problem }) {
  const change = (at, text) => onInput(value.map((one, number) => (number === at ? { link: text } : one)));
  const move = (at, step) => {
    const next = [...value];
    [next[at], next[at + step]] = [next[at + step], next[at]];
    onInput(next);
  };
  return html`<fieldset class="sources"><legend>${t("channels.sources")}</legend>
    ${value.map((one, at) => html`<div class="joined" key=${at}>
      <input aria-label=${t("channels.source.n", { n: at + 1 })} value=${one.link ?? one.value} readonly=${one.link === undefined} title=${one.kind}
        placeholder="acestream://… http://…" onInput=${(event) => change(at, event.target.value)} />
      <${Button} icon="up" text=${false} label=${t("up")} disabled=${at === 0} onClick=${() => move(at, -1)} />
      <${Button} icon="down" text=${false} label=${t("down")} disabled=${at === value.length - 1} onClick=${() => move(at, 1)} />
      <${Button} icon="trash" text=${false} label=${t("channels.source.remove", { n: at + 1 })} onClick=${() => onInput(value.filter((_, number) => number !== at))} /></div>`)}
    ${problem && html`<small class="problem">${problem}</small>`}
    <${Button} icon="plus" kind="secondary small" label=${t("channels.source.add")} onClick=${() => onInput([...value, { link: "" }])} /></fieldset>`;
}

const FIELDS = ["name", "number", "logo", "guide_id", "enabled", "adult", "radio", "categories"];
const EMPTY = { name: "", number: "", logo: "", guide_id: "", enabled: true, adult: false, radio: false, categories: [], sources: [] };
const asGiven = (sources) => sources.filter((one) => one.link !== "").map((one) => (one.link !== undefined ? { link: one.link.trim() } : { kind: one.kind, value: one.value, headers: one.headers }));

function Editor({ id, categories, onClose, onDone }) {
  const form = useForm(EMPTY);
  const [kept, setKept] = useState(null);
  const [tag, setTag] = useState(null);
  useEffect(() => {
    if (!id) return;
    exchange("GET", `channels/${id}`).then(([found, said]) => {
      setKept(found);
      setTag(said);
      form.setValues({ ...EMPTY, ...found });
    }, form.setError);
  }, [id]);
  const save = async () => {
    const done = await form.send(async (values) => {
      if (!id) {
        const fields = Object.fromEntries(FIELDS.map((name) => [name, values[name]]));
        return post("channels", { ...fields, sources: asGiven(values.sources) });
      }
      const changed = FIELDS.filter((name) => JSON.stringify(values[name]) !== JSON.stringify(kept[name]));
      const given = Object.fromEntries(changed.map((name) => [name, values[name]]));
      if (JSON.stringify(values.sources) !== JSON.stringify(kept.sources)) given.sources = asGiven(values.sources);
      return patch(`channels/${id}`, given, tag);
    });
    if (done !== undefined) {
      note(t("saved"));
      onDone();
    }
  };
  const erase = async () => {
    if (!(await sure(t("channels.delete.sure", { name: kept.name }), t("delete")))) return;
    if ((await attempt(() => remove(`channels/${id}`), t("deleted"))) !== undefined) onDone();
  };
  const footer = html`${id && html`<${Button} icon="trash" kind="danger outline" label=${t("delete")} onClick=${erase} disabled=${!kept} />`}
    <span class="gap"></span><${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("save")} busy=${form.busy} disabled=${id && !kept} />`;
  const { field } = form;
  const wrong = Object.entries(form.error?.fields ?? {}).find(([name]) => name.startsWith("sources"));
  return html`<${Dialog} wide=${true} title=${id ? t("channels.edit") : t("channels.new")} onClose=${onClose} onSubmit=${save} footer=${footer}>
    <${Trouble} error=${form.error} />
    ${id && !kept && !form.error && html`<${Waiting} />`}
    ${(!id || kept) && html`<div class="grid"><${Text} label=${t("channels.name")} ...${field("name")} required />
      <${Text} label=${t("channels.number")} ...${field("number")} /></div>
    <div class="grid"><${Text} label=${t("channels.logo")} ...${field("logo")} hint=${t("channels.logo.hint")} />
      <${Text} label=${t("channels.guide_id")} ...${field("guide_id")} hint=${t("channels.guide_id.hint")} /></div>
    <div class="checks"><${Check} label=${t("channels.enabled")} ...${field("enabled")} /><${Check} label=${t("channels.adult")} ...${field("adult")} />
      <${Check} label=${t("channels.radio")} ...${field("radio")} /></div>
    <${Several} label=${t("channels.categories")} ...${field("categories")} options=${categories.map((one) => [one.id, one.name])} />
    <${Sources} ...${field("sources")} problem=${wrong && wrong[1]} />`}
    ${kept?.edited?.length > 0 && html`<p class="nothing">${t("channels.edited", { what: kept.edited.join(", ") })}</p>`}<//>`;
}

/** What is done with many at once. `where`: ids, or the filter that shows them. */
function Bulk({ where, count, categories, onClose, onDone }) {
  const form = useForm({ what: "enable", category: categories[0]?.id ?? "", start: 1, step: 1 });
  const { what, category, start, step } = form.values;
  const bodies = {
    enable: { change: { enabled: true } }, disable: { change: { enabled: false } },
    adult: { change: { adult: true } }, not_adult: { change: { adult: false } },
    add: { change: { categories_add: [Number(category)] } }, take: { change: { categories_remove: [Number(category)] } },
    set: { change: { categories_set: [Number(category)] } }, renumber: { renumber: { start, step } }, delete: { delete: true },
  };
  const labels = {
    enable: t("bulk.enable"), disable: t("bulk.disable"), adult: t("bulk.adult"), not_adult: t("bulk.not_adult"), add: t("bulk.add"),
    take: t("bulk.take"), set: t("bulk.set"), renumber: t("bulk.renumber"), delete: t("bulk.delete"),
  };
  const go = async () => {
    if (what === "delete" && !(await sure(t("bulk.delete.sure", { n: number(count) }), t("delete")))) return;
    const told = await form.send(() => post("channels/bulk", { ...where, ...bodies[what] }));
    if (told !== undefined) {
      note(t("bulk.done", { n: number(told.changed) }));
      onDone();
    }
  };
  return html`<${Dialog} title=${t("bulk.title", { n: number(count) })} onClose=${onClose} onSubmit=${go}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("bulk.go")} kind=${what === "delete" ? "danger" : ""} busy=${form.busy} />`}>
    <${Trouble} error=${form.error} />
    <${Choice} label=${t("bulk.what")} ...${form.field("what")} options=${Object.entries(labels)} />
    ${["add", "take", "set"].includes(what) && html`<${Choice} label=${t("channels.category")} ...${form.field("category")} options=${categories.map((one) => [one.id, one.name])} />`}
    ${what === "renumber" && html`<div class="grid"><${Whole} label=${t("bulk.start")} ...${form.field("start")} min="0" /><${Whole} label=${t("bulk.step")} ...${form.field("step")} min="1" /></div>`}<//>`;
}

function Filter({ filter, set, categories, playlists }) {
  const states = [["all", t("channels.state.all")], ["enabled", t("channels.state.enabled")], ["disabled", t("channels.state.disabled")],
    ["stale", t("channels.state.stale")], ["retired", t("channels.state.retired")], ["unmapped", t("channels.state.unmapped")]];
  const kinds = [["live", t("channels.kind.live")], ["movie", t("channels.kind.movie")], ["episode", t("channels.kind.episode")], ["all", t("channels.kind.all")]];
  return html`<search class="filter">
    <${Search} label=${t("channels.search")} value=${filter.q} onInput=${(q) => set({ q })} />
    <${Choice} hidden=${true} label=${t("channels.category")} value=${filter.category_id} onInput=${(one) => set({ category_id: one })}
      options=${[["", t("channels.category.all")], ["0", t("channels.category.none")], ...categories.map((one) => [one.id, one.name])]} />
    ${playlists.length > 0 && html`<${Choice} hidden=${true} label=${t("channels.playlist")} value=${filter.playlist_id} onInput=${(one) => set({ playlist_id: one })}
      options=${[["", t("channels.playlist.all")], ...playlists.map((one) => [one.id, one.name || one.shown_url])]} />`}
    <${Choice} hidden=${true} label=${t("channels.kind")} value=${filter.kind} onInput=${(kind) => set({ kind })} options=${kinds} />
    <${Choice} hidden=${true} label=${t("channels.state")} value=${filter.state} onInput=${(state) => set({ state })} options=${states} /></search>`;
}

/** A change of a row as it is shown: of one that is not so any more nothing is changed. Raises Problem. */
async function changeRow(shown, change) {
  const path = `channels/${shown.id}`;
  const [now, tag] = await exchange("GET", path);
  if (JSON.stringify(now) !== JSON.stringify(shown)) throw new Problem(412, {});
  return patch(path, change, tag);
}

function LineUp({ who }) {
  const [filter, setFilter] = useState({ q: "", category_id: "", playlist_id: "", kind: "live", state: "all" });
  const [picked, setPicked] = useState(new Set());
  const [dialog, setDialog] = useState(null);
  const narrow = useNarrow();
  const height = narrow ? HEIGHT_NARROW : HEIGHT;
  const box = useRef(null);
  const list = useChunks("channels", filter);
  const { data, reload: readCategories } = useGet("categories", { limit: 1000 });
  const { data: lists } = useGet("lists", { kind: "playlist", limit: 1000 });
  const categories = data?.items ?? [];
  const names = new Map(categories.map((one) => [one.id, one.name]));
  const close = () => setDialog(null);
  const done = () => {
    close();
    list.reload();
    readCategories();
  };
  const set = (part) => {
    setPicked(new Set());
    setFilter((before) => ({ ...before, ...part }));
  };
  const pick = (id, on) => setPicked((before) => {
    const next = new Set(before);
    if (on) next.add(id);
    else next.delete(id);
    return next;
  });
  const save = async (channel, index, change) => {
    try {
      list.replace(index, await changeRow(channel, change));
      note(t("saved"));
    } catch (error) {
      if (error.status !== 412) return note(error.message, "bad");
      note(t("channels.changed_meanwhile", { name: channel.name }), "bad");
      list.reload();
    }
  };
  const held = useRef(null); // what was moved: its handle gets the focus back where it then stands
  const move = async (from, to) => {
    const channel = list.at(from);
    // of a part of the line-up the last place is behind its last channel, not behind all there are
    const next = Math.min(to, list.total - 1);
    const other = list.at(next) ?? (await get("channels", { ...filter, offset: next, limit: 1 })).items[0];
    const place = to < list.total ? { before_id: other?.id } : { after_id: other?.id };
    const moved = await attempt(() => post(`channels/${channel.id}/move`, place), t("channels.moved", { name: channel.name }));
    if (moved === undefined) return;
    held.current = { id: channel.id, index: to > from ? to - 1 : to };
    list.reload();
  };
  useLayoutEffect(() => {
    if (!held.current || list.at(held.current.index)?.id !== held.current.id) return;
    const { index } = held.current;
    held.current = null;
    if (!document.activeElement?.matches("input, select, textarea, dialog *")) box.current.querySelector(`[data-index="${index}"] .grip`)?.focus();
  });
  const [grip, drag] = useDrag(box, height, list.total, move);
  const where = picked.size ? { ids: [...picked] } : { filter: Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== "").map(([name, value]) => [name, name.endsWith("_id") ? Number(value) : value])) };
  const row = (channel, index) => html`<${Row} channel=${channel} index=${index} names=${names} picked=${picked.has(channel.id)} onPick=${pick} onSave=${save}
    onPlay=${(one) => setDialog({ play: one })} onEdit=${(one) => setDialog({ edit: one.id })} grip=${grip} />`;
  return html`<${Filter} filter=${filter} set=${set} categories=${categories} playlists=${lists?.items ?? []} />
    <div class="count"><span role="status">${t("channels.count", { n: number(list.total) })}${picked.size > 0 && ` · ${t("channels.picked", { n: number(picked.size) })}`}</span>
      ${picked.size > 0 && html`<${Button} kind="secondary small" label=${t("channels.unpick")} onClick=${() => setPicked(new Set())} />`}
      <${Button} kind="secondary small" label=${picked.size ? t("bulk.picked") : t("bulk.all")} disabled=${!list.total} onClick=${() => setDialog({ bulk: true })} />
      <span class="tools"><${Button} kind="secondary small" label=${t("channels.categories")} onClick=${() => setDialog({ categories: true })} />
        <${Button} icon="plus" kind="small" label=${t("channels.new")} onClick=${() => setDialog({ edit: 0 })} /></span></div>
    <${Trouble} error=${list.error} />
    ${list.loaded && !list.total && !list.error && html`<${Nothing} text=${t("channels.none")} />`}
    <div ref=${box} class="dragging ${drag ? "on" : ""}"><${WindowedList} list=${list} height=${height} row=${row} label=${t("nav.channels")} />
      ${drag && html`<${Line} box=${box} at=${drag.to * height} />`}</div>
    ${dialog?.edit !== undefined && html`<${Editor} id=${dialog.edit} categories=${categories} onClose=${close} onDone=${done} />`}
    ${dialog?.bulk && html`<${Bulk} where=${where} count=${picked.size || list.total} categories=${categories} onClose=${close} onDone=${() => { setPicked(new Set()); done(); }} />`}
    ${dialog?.categories && html`<${Categories} onClose=${done} />`}
    ${dialog?.play && html`<${Player} channel=${dialog.play} who=${who} onClose=${close} />`}`;
}

export default function Channels({ who }) {
  const [tab, setTab] = useState("lineup");
  return html`<${Head} title=${t("nav.channels")}><${Tabs} label=${t("nav.channels")} value=${tab} onInput=${setTab} options=${[["lineup", t("channels.lineup")], ["series", t("series")]]} /><//>
    ${tab === "lineup" ? html`<${LineUp} who=${who} />` : html`<${SeriesList} who=${who} />`}`;
}

/** Where what is dragged would go. */
function Line({ box, at }) {
  const list = box.current.querySelector(".windowed");
  return html`<div class="drop" style=${{ top: `${list.offsetTop + Math.max(0, Math.min(list.clientHeight, at - list.scrollTop))}px` }}></div>`;
}
