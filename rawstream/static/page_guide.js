// The guide: what is on, and which channel has which guide. Owns: this page.

import { put, useChunks, useGet } from "./api.js";
import { attempt, Badge, Button, Choice, Dialog, Head, html, Icon, Nothing, Search, Tabs, Trouble, useForm, useNarrow, useState, Waiting, WindowedList } from "./ui.js";
import { day, hour, number } from "./format.js";
import { t, word } from "./text.js";

const HOUR = 3600;
const PAGE = 50;
const HEIGHT = 60;
const HEIGHT_NARROW = 96;

function Programme({ one, start, end }) {
  const from = Math.max(one.start, start);
  const until = Math.min(one.stop, end);
  const share = (span) => `${(span / (end - start)) * 100}%`;
  const text = `${hour(one.start)}–${hour(one.stop)} ${one.title}`;
  const now = Date.now() / 1000;
  return html`<li class="programme ${one.start <= now && now < one.stop ? "now" : ""}" title=${text} style=${{ left: share(from - start), width: share(until - from) }}>
    <span><time>${hour(one.start)}</time> ${one.title}</span></li>`;
}

function Grid() {
  const narrow = useNarrow();
  const hours = narrow ? 2 : 4;
  const [start, setStart] = useState(Math.floor(Date.now() / 1000 / 1800) * 1800);
  const [q, setQ] = useState("");
  const [offset, setOffset] = useState(0);
  const { data, error, busy } = useGet("guide/grid", { start, hours, q, offset, limit: PAGE });
  const end = start + hours * HOUR;
  const marks = Array.from({ length: hours * 2 }, (_, at) => start + at * 1800);
  const now = Math.floor(Date.now() / 1000 / 1800) * 1800;
  const pages = data && data.total > PAGE;
  return html`<div class="filter"><${Search} label=${t("guide.search")} value=${q} onInput=${(text) => { setQ(text); setOffset(0); }} />
      <span class="tools"><${Button} icon="left" text=${false} kind="secondary" label=${t("guide.earlier")} onClick=${() => setStart(start - hours * HOUR)} />
      <${Button} kind="secondary" label=${t("guide.now")} onClick=${() => setStart(now)} />
      <${Button} icon="right" text=${false} kind="secondary" label=${t("guide.later")} onClick=${() => setStart(start + hours * HOUR)} /></span>
      <span class="when">${day(start)}, ${hour(start)}–${hour(end)}</span></div>
    <${Trouble} error=${error} />${busy && !data && html`<${Waiting} />`}
    ${data && !data.items.length && html`<${Nothing} text=${t("guide.none")} />`}
    ${data?.items.length > 0 && html`<div class="guide" aria-busy=${busy ? "true" : undefined}>
      <div class="times" aria-hidden="true"><span></span><div>${marks.map((at) => html`<span key=${at}>${hour(at)}</span>`)}</div></div>
      ${data.items.map((one) => html`<section key=${one.channel_id} aria-label=${one.name}><h3 class="clip" title=${one.name}>${one.name}</h3>
        <ul>${one.programmes.filter((each) => each.stop > start && each.start < end).map((each) => html`<${Programme} key=${each.start} one=${each} start=${start} end=${end} />`)}</ul></section>`)}</div>`}
    ${pages && html`<div class="pages"><${Button} icon="left" kind="secondary" label=${t("back")} disabled=${offset === 0} onClick=${() => setOffset(offset - PAGE)} />
      <span>${t("range", { from: offset + 1, to: Math.min(offset + PAGE, data.total), of: number(data.total) })}</span>
      <${Button} icon="right" kind="secondary" label=${t("forward")} disabled=${offset + PAGE >= data.total} onClick=${() => setOffset(offset + PAGE)} /></div>`}`;
}

/** Which guide a channel has: what was found, what else it could be, or any there is. */
function Choose({ mapping, onClose, onDone }) {
  const [q, setQ] = useState(mapping.name);
  const found = useGet("guide/channels", { q, limit: 30 });
  const form = useForm({});
  const set = async (guide_id, auto) => {
    const done = await form.send(() => put(`channels/${mapping.channel_id}/guide`, { guide_id, auto }));
    if (done !== undefined) onDone();
  };
  const offer = (id, name, extra) => html`<li key=${id}><button type="button" class="offer" onClick=${() => set(id, false)}>
    <span class="clip">${name || id}</span><small class="clip">${id}${extra}</small></button></li>`;
  return html`<${Dialog} wide=${true} title=${t("guide.choose", { name: mapping.name })} onClose=${onClose}
    footer=${html`<${Button} kind="secondary" label=${t("guide.automatic")} onClick=${() => set(null, true)} />
      <${Button} kind="secondary" label=${t("guide.no_guide")} onClick=${() => set(null, false)} />`}>
    <${Trouble} error=${form.error || found.error} />
    ${mapping.candidates.length > 0 && html`<h3>${t("guide.candidates")}</h3><ul class="plain-list offers">${mapping.candidates.map((one) => offer(one.guide_id, one.name, ` · ${one.score} %`))}</ul>`}
    <h3>${t("guide.all")}</h3><${Search} label=${t("guide.channels.search")} value=${q} onInput=${setQ} />
    ${found.busy && !found.data && html`<${Waiting} />`}
    ${found.data && !found.data.items.length && html`<${Nothing} text=${t("guide.channels.none")} />`}
    <ul class="plain-list offers">${(found.data?.items ?? []).map((one) => offer(one.id, one.names.join(" · "), ""))}</ul><//>`;
}

/** What it has now, and how sure that is. */
function Has({ mapping }) {
  const { guide } = mapping;
  if (!guide) return html`<span><${Badge} kind="warn">${t("guide.state.unmapped")}<//></span><span></span>`;
  const sure = guide.manual || guide.score >= 90 ? "good" : "warn";
  const rule = guide.manual ? t("guide.manual") : `${word("guide.rule", guide.rule)} · ${guide.score} %`;
  return html`<span class="clip" title=${guide.guide_id}>${guide.guide_id ? html`<${Icon} name="link" /> ${mapping.theirs || guide.guide_id}` : t("guide.no_guide")}</span>
    <span><${Badge} kind=${sure}>${rule}<//></span>`;
}

function Mappings() {
  const [state, setState] = useState("all");
  const [q, setQ] = useState("");
  const [choosing, setChoosing] = useState(null);
  const height = useNarrow() ? HEIGHT_NARROW : HEIGHT;
  const list = useChunks("guide/mappings", { q, state });
  const states = [["all", t("guide.state.all")], ["unmapped", t("guide.state.unmapped")], ["matched", t("guide.state.matched")], ["manual", t("guide.state.manual")]];
  const automatic = async (mapping) => {
    if ((await attempt(() => put(`channels/${mapping.channel_id}/guide`, { guide_id: null, auto: true }), t("saved"))) !== undefined) list.reload();
  };
  const row = (mapping) => html`<div class="mapping"><strong class="clip" title=${mapping.name}>${mapping.name}</strong>
    <${Has} mapping=${mapping} />
    <span class="tools">${mapping.guide?.manual && html`<${Button} icon="undo" text=${false} label=${t("guide.automatic.what", { name: mapping.name })} onClick=${() => automatic(mapping)} />`}
      <${Button} icon="edit" text=${false} label=${t("guide.choose", { name: mapping.name })} onClick=${() => setChoosing(mapping)} /></span></div>`;
  return html`<div class="filter"><${Search} label=${t("channels.search")} value=${q} onInput=${setQ} />
      <${Choice} hidden=${true} label=${t("guide.state")} value=${state} onInput=${setState} options=${states} /></div>
    <div class="count"><span role="status">${t("channels.count", { n: number(list.total) })}</span></div>
    <${Trouble} error=${list.error} />
    ${list.loaded && !list.total && !list.error && html`<${Nothing} text=${t("channels.none")} />`}
    <${WindowedList} list=${list} height=${height} row=${row} label=${t("guide.mapping")} id=${(mapping) => mapping.channel_id} />
    ${choosing && html`<${Choose} mapping=${choosing} onClose=${() => setChoosing(null)} onDone=${() => { setChoosing(null); list.reload(); }} />`}`;
}

export default function Guide() {
  const [tab, setTab] = useState("grid");
  return html`<${Head} title=${t("nav.guide")}><${Tabs} label=${t("nav.guide")} value=${tab} onInput=${setTab} options=${[["grid", t("guide.grid")], ["mapping", t("guide.mapping")]]} /><//>
    ${tab === "grid" ? html`<${Grid} />` : html`<${Mappings} />`}`;
}
