// The series that episodes are of. Owns: this part of the page of channels: names, covers, facts.
// Must not know: how the line-up is drawn.

import { address, exchange, patch, useChunks, useGet } from "./api.js";
import { Badge, Button, Dialog, html, note, Nothing, Search, Submit, Text, Trouble, useEffect, useForm, useNarrow, useState, Waiting, WindowedList } from "./ui.js";
import { decimal, number } from "./format.js";
import Player from "./player.js";
import { t } from "./text.js";

const HEIGHT = 64;
const HEIGHT_NARROW = 76;
const EPISODES = 500; // of one series, that are shown

function Cover({ series }) {
  const [bad, setBad] = useState(false);
  if (!series.cover || bad) return html`<span class="logo none" aria-hidden="true">${series.name.slice(0, 1)}</span>`;
  const ours = series.cover.startsWith("/logos/");
  return html`<img class="logo" src=${ours ? new URL(series.cover.slice(1), document.baseURI).href : address(`series/${series.id}/cover`, { of: series.cover.slice(-24) })} alt="" loading="lazy" onError=${() => setBad(true)} />`;
}

const rated = (series) => (series.rating ? `★ ${decimal(series.rating)}` : "");

function Row({ series, onEdit, onEpisodes }) {
  const facts = [series.genre, series.release_date, series.plot].filter(Boolean).join(" · ");
  return html`<div class="series"><${Cover} key=${series.cover} series=${series} />
    <div class="what"><strong class="clip" title=${series.name}>${series.name}</strong><small class="clip" title=${series.plot}>${facts || "–"}</small></div>
    <span class="badges">${rated(series) && html`<${Badge}>${rated(series)}<//>`}</span>
    <span class="tools"><${Button} icon="lists" text=${false} label=${t("series.episodes", { name: series.name })} onClick=${() => onEpisodes(series)} />
      <${Button} icon="edit" text=${false} label=${t("edit.what", { name: series.name })} onClick=${() => onEdit(series)} /></span></div>`;
}

const FACTS = (series) => [
  [t("series.facts.genre"), series.genre], [t("series.facts.release_date"), series.release_date],
  [t("series.facts.rating"), series.rating ? decimal(series.rating) : ""], [t("series.facts.plot"), series.plot],
].filter(([, value]) => value);

/** `name`, `cover` are set here; what is known of it otherwise comes with its list. */
function Editor({ id, onClose, onDone }) {
  const form = useForm({ name: "", cover: "" });
  const [kept, setKept] = useState(null);
  useEffect(() => {
    exchange("GET", `series/${id}`).then(([found, tag]) => {
      setKept({ ...found, tag });
      form.setValues({ name: found.name, cover: found.cover });
    }, form.setError);
  }, [id]);
  const save = async () => {
    const done = await form.send((values) => patch(`series/${id}`, Object.fromEntries(Object.entries(values).filter(([name, value]) => value !== kept[name])), kept.tag));
    if (done === undefined) return;
    note(t("saved"));
    onDone();
  };
  return html`<${Dialog} wide=${true} title=${t("series.edit")} onClose=${onClose} onSubmit=${save}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("save")} busy=${form.busy} disabled=${!kept} />`}>
    <${Trouble} error=${form.error} />${!kept && !form.error && html`<${Waiting} />`}
    ${kept && html`<${Text} label=${t("series.name")} ...${form.field("name")} required />
      <${Text} label=${t("series.cover")} ...${form.field("cover")} hint=${t("channels.logo.hint")} />
      <dl class="told">${FACTS(kept).map(([label, value]) => html`<dt key=${label}>${label}</dt><dd>${value}</dd>`)}</dl>`}<//>`;
}

const numbered = (one) => (one.season || one.episode ? `${one.season}×${String(one.episode).padStart(2, "0")}` : "–");

function Episodes({ series, onClose, onPlay }) {
  const { data, error } = useGet("channels", { kind: "episode", series_id: series.id, limit: EPISODES });
  const items = [...(data?.items ?? [])].sort((one, other) => one.season - other.season || one.episode - other.episode || one.id - other.id);
  return html`<${Dialog} wide=${true} title=${t("series.episodes", { name: series.name })} onClose=${onClose}
    footer=${html`<${Button} kind="secondary" label=${t("close")} onClick=${onClose} />`}>
    <${Trouble} error=${error} />${!data && !error && html`<${Waiting} />`}${data && !items.length && html`<${Nothing} text=${t("channels.none")} />`}
    <ul class="plain-list episodes">${items.map((one) => html`<li key=${one.id} class="line"><span class="number">${numbered(one)}</span>
      <span class="what clip" title=${one.name}>${one.name}</span><${Button} icon="play" text=${false} label=${t("play.what", { name: one.name })} onClick=${() => onPlay(one)} /></li>`)}</ul>
    ${data && data.total > items.length && html`<p class="nothing">${t("more", { n: number(data.total - items.length) })}</p>`}<//>`;
}

export default function SeriesList({ who }) {
  const [q, setQ] = useState("");
  const [dialog, setDialog] = useState(null);
  const height = useNarrow() ? HEIGHT_NARROW : HEIGHT;
  const list = useChunks("series", { q });
  const close = () => setDialog(null);
  const row = (series) => html`<${Row} series=${series} onEdit=${() => setDialog({ edit: series.id })} onEpisodes=${() => setDialog({ episodes: series })} />`;
  return html`<search class="filter"><${Search} label=${t("series.search")} value=${q} onInput=${setQ} /></search>
    <div class="count"><span role="status">${t("series.count", { n: number(list.total) })}</span></div>
    <${Trouble} error=${list.error} />
    ${list.loaded && !list.total && !list.error && html`<${Nothing} text=${t("series.none")} />`}
    <${WindowedList} list=${list} height=${height} row=${row} label=${t("series")} />
    ${dialog?.edit && html`<${Editor} id=${dialog.edit} onClose=${close} onDone=${() => { close(); list.reload(); }} />`}
    ${dialog?.episodes && html`<${Episodes} series=${dialog.episodes} onClose=${close} onPlay=${(play) => setDialog({ play })} />`}
    ${dialog?.play && html`<${Player} channel=${dialog.play} who=${who} onClose=${close} />`}`;
}
