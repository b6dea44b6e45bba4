// Looking for channels through an engine's index. Owns: this page.

import { get, post, useGet } from "./api.js";
import { Badge, Button, Head, html, note, Nothing, Text, Trouble, useForm, useState } from "./ui.js";
import { decimal, number } from "./format.js";
import { t } from "./text.js";

const known = (one) => one.channels.length > 0;

function Found({ one, picked, onPick }) {
  const there = known(one);
  const about = [one.category, ...(one.categories || []), ...(one.languages || [])].filter(Boolean).join(", ");
  return html`<li class="card"><label class="line found"><input type="checkbox" checked=${picked} disabled=${there} onChange=${(event) => onPick(one, event.target.checked)} />
    <span class="what"><strong class="clip">${one.name}</strong><small class="clip">${[about, one.infohash].filter(Boolean).join(" · ")}</small></span>
    <span class="badges">${there && html`<${Badge} kind="off">${t("search.known")}<//>`}
      ${one.availability !== undefined && one.availability !== null && html`<${Badge} kind=${one.availability >= 0.8 ? "good" : "warn"}>${t("search.availability", { n: Math.round(one.availability * 100) })}<//>`}
      ${one.bitrate ? html`<${Badge}>${decimal(one.bitrate / 125000)} Mbit/s<//>` : null}</span></label></li>`;
}

export default function Look() {
  const form = useForm({ q: "", category: "" });
  const adding = useForm({ category: "" });
  const [found, setFound] = useState(null);
  const [page, setPage] = useState(0);
  const [picked, setPicked] = useState(new Map());
  const { data } = useGet("categories", { limit: 1000 });
  const look = async (next) => {
    const told = await form.send((values) => get("search", { q: values.q, category: values.category, page: next }));
    if (told === undefined) return;
    setPage(next);
    setFound(told);
    setPicked(new Map());
  };
  const pick = (one, on) => setPicked((before) => {
    const next = new Map(before);
    if (on) next.set(one.infohash, one);
    else next.delete(one.infohash);
    return next;
  });
  const add = async () => {
    const items = [...picked.values()].map(({ infohash, name }) => ({ infohash, name, category: adding.values.category }));
    const told = await adding.send(() => post("search/add", { items }));
    if (told === undefined) return;
    const unsure = told.items.filter((one) => one.duplicate_unknown).length;
    note([t("search.added", { n: told.added }), unsure && t("search.added.unsure", { n: unsure })].filter(Boolean).join(" "));
    await look(page);
  };
  const items = found?.items ?? [];
  return html`<${Head} title=${t("nav.search")} />
    <p class="lead">${t("search.lead")}</p>
    <form class="filter" onSubmit=${(event) => { event.preventDefault(); look(0); }}>
      <input type="search" class="search" aria-label=${t("search.for")} placeholder=${t("search.for")} value=${form.values.q} onInput=${(event) => form.set("q", event.target.value)} />
      <input class="short" aria-label=${t("search.category")} placeholder=${t("search.category")} value=${form.values.category} onInput=${(event) => form.set("category", event.target.value)} />
      <button type="submit" disabled=${form.busy} aria-busy=${form.busy ? "true" : undefined}>${t("search.go")}</button></form>
    <${Trouble} error=${form.error || adding.error} />
    ${found && !items.length && html`<${Nothing} text=${t("search.none")} />`}
    ${items.length > 0 && found.duplicates_unknown && html`<p class="nothing">${t("search.unsure")}</p>`}
    ${items.length > 0 && html`<div class="filter end"><${Text} label=${t("search.into")} ...${adding.field("category")} list="categories" />
      <datalist id="categories">${(data?.items ?? []).map((one) => html`<option key=${one.id} value=${one.name}></option>`)}</datalist>
      <${Button} icon="plus" label=${t("search.add", { n: picked.size })} onClick=${add} disabled=${!picked.size} /></div>
    <ul class="plain-list cards">${items.map((one) => html`<${Found} key=${one.infohash} one=${one} picked=${picked.has(one.infohash)} onPick=${pick} />`)}</ul>
    <div class="pages"><${Button} icon="left" kind="secondary" label=${t("back")} disabled=${page === 0} onClick=${() => look(page - 1)} />
      <span>${found.total !== undefined ? t("search.total", { n: number(found.total) }) : ""}</span>
      <${Button} icon="right" kind="secondary" label=${t("forward")} onClick=${() => look(page + 1)}
        disabled=${(page + 1) * found.page_size >= found.total} /></div>`}`;
}
