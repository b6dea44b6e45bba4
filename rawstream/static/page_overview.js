// What is on air and who watches. Owns: this page.

import { post, useGet } from "./api.js";
import { attempt, Badge, Button, Head, html, Icon, Nothing, sure, Trouble, useEffect, useRef, useState, Waiting } from "./ui.js";
import { Chart } from "./chart.js";
import { bitRate, decimal, duration, exact, number, size } from "./format.js";
import { useLive } from "./live.js";
import Player from "./player.js";
import { said, t, word } from "./text.js";
import Watchers from "./viewers.js";

const POINTS = 360; // ten seconds each: an hour
const STATE_KINDS = { live: "good", playing: "good", lingering: "", starting: "warn", opening: "warn", recovering: "bad", failed: "bad" };

const Figure = ({ label, value }) => html`<div class="figure"><dt>${label}</dt><dd>${value}</dd></div>`;

function Figures({ totals }) {
  const shown = (show, name) => (totals ? show(totals[name]) : "–");
  return html`<dl class="figures">
    <${Figure} label=${t("overview.viewers")} value=${shown(number, "viewers") + (totals?.held ? ` +${totals.held}` : "")} />
    <${Figure} label=${t("overview.channels")} value=${shown(number, "channels")} />
    <${Figure} label=${t("overview.in")} value=${shown(bitRate, "bits_in_per_second")} />
    <${Figure} label=${t("overview.out")} value=${shown(bitRate, "bits_out_per_second")} />
    <${Figure} label=${t("overview.connections")} value=${shown(number, "connections")} />
    <${Figure} label=${t("overview.uptime")} value=${shown(duration, "uptime_seconds")} /></dl>`;
}

/** The last hour as the server kept it, and from there on what the events tell. */
function Charts({ totals }) {
  const { data, error } = useGet("stats");
  const [points, setPoints] = useState(null);
  const last = useRef(0);
  useEffect(() => { if (data) setPoints(data.points.map((one) => [one.at, one.bits_in_per_second, one.bits_out_per_second, one.viewers])); }, [data]);
  useEffect(() => {
    const now = Date.now() / 1000;
    if (!points || !totals || now - last.current < 10) return;
    last.current = now;
    const one = [now, totals.bits_in_per_second, totals.bits_out_per_second, totals.viewers];
    setPoints((before) => [...before.filter((each) => each[0] < now).slice(-POINTS), one]);
  }, [totals, points]);
  if (error) return html`<${Trouble} error=${error} />`;
  if (!points) return html`<${Waiting} />`;
  // the line ends at what the figures say
  const latest = totals && [Date.now() / 1000, totals.bits_in_per_second, totals.bits_out_per_second, totals.viewers];
  const shown = latest && latest[0] > (points.at(-1)?.[0] ?? 0) ? [...points, latest] : points;
  const column = (at) => shown.map((one) => one[at]);
  const at = column(0);
  return html`<div class="charts">
    <${Chart} title=${t("overview.bandwidth")} series=${[t("overview.in"), t("overview.out")]} data=${[at, column(1), column(2)]} show=${bitRate} least=${1e6} />
    <${Chart} title=${t("overview.viewers")} series=${[t("overview.viewers")]} data=${[at, column(3)]} show=${decimal} /></div>`;
}

const RUNG_KINDS = { lost: "bad", failed: "bad", back: "good" };
const LATELY = 8;
const LATELY_OF = 20;

/** Steps of ladders, the newest first. `of`: one channel's, without its name. */
function Steps({ steps, of = false }) {
  return html`<ul class="plain-list steps ${of ? "of" : ""}">${steps.map((step) => html`<li key=${step.id}><time datetime=${new Date(step.at * 1000).toISOString()}>${exact(step.at)}</time>
    ${!of && html`<strong class="clip" title=${step.name}>${step.name || step.key}</strong>`}
    <${Badge} kind=${RUNG_KINDS[step.rung] ?? "warn"}>${word("rung", step.rung)}<//><span class="clip" title=${said(step, step.text)}>${said(step, step.text)}</span></li>`)}</ul>`;
}

/** What is tried for a channel that has lost its source. */
function Trying({ channel, steps }) {
  const [step] = steps;
  if (channel.state !== "recovering" && channel.state !== "failed") return null;
  const text = step && step.rung !== "back" ? said(step, step.text) : channel.last_error;
  return html`<p class="trouble">${step && html`<strong>${word("rung", step.rung)}</strong> `}${text}</p>`;
}

function OnAir({ channel, steps, onPlay }) {
  const [open, setOpen] = useState(false);
  const path = `live/${encodeURIComponent(channel.key)}`;
  const act = (verb, done) => () => attempt(() => post(`${path}/${verb}`), done);
  const stop = async () => {
    if (await sure(t("overview.stop.sure", { name: channel.name || channel.key }), t("overview.stop"))) await act("stop", t("overview.stopped"))();
  };
  return html`<li class="onair ${STATE_KINDS[channel.state] ?? ""}"><div class="line">
    <button type="button" class="bare" aria-expanded=${open ? "true" : "false"} aria-label=${t("overview.show_viewers", { name: channel.name || channel.key })}
      onClick=${() => setOpen(!open)}><${Icon} name=${open ? "down" : "right"} /></button>
    <div class="what"><strong class="clip" title=${channel.name}>${channel.name || (channel.infohash || channel.key).slice(0, 12)}</strong>
      <small class="clip" title=${channel.source}>${channel.source || "–"}</small></div>
    <span class="state"><${Badge} kind=${STATE_KINDS[channel.state] ?? ""}>${word("channel.state", channel.state)}<//> <small>${duration(Date.now() / 1000 - channel.since)}</small></span>
    <span class="cell" data-label=${t("overview.bitrate")}>${bitRate(channel.bitrate)}</span>
    <span class="cell" data-label=${t("overview.peers")}>${channel.peers ?? "–"}</span>
    <span class="cell" data-label=${t("overview.viewers")}>${number(channel.viewer_count)}${channel.held ? ` +${channel.held}` : ""}</span>
    <span class="tools">
      ${channel.channel_ids.length > 0 && html`<${Button} icon="play" text=${false} label=${t("play")} onClick=${() => onPlay(channel)} />`}
      <${Button} icon="next" text=${false} label=${t("overview.next")} onClick=${act("next", t("overview.next.done"))} />
      <${Button} icon="restart" text=${false} label=${t("overview.restart")} onClick=${act("restart", t("overview.restarted"))} />
      <${Button} icon="stop" text=${false} label=${t("overview.stop")} onClick=${stop} /></span></div>
    <${Trying} channel=${channel} steps=${steps} />
    ${open && html`<${Watchers} of=${channel} />`}
    ${open && steps.length > 0 && html`<h3>${t("overview.lately.of")}</h3><${Steps} steps=${steps.slice(0, LATELY_OF)} of=${true} />`}</li>`;
}

function Film({ film }) {
  const [open, setOpen] = useState(false);
  const stop = async () => {
    if (await sure(t("overview.stop.sure", { name: film.name || film.key }), t("overview.stop"))) await attempt(() => post(`live/${encodeURIComponent(film.key)}/stop`), t("overview.stopped"));
  };
  return html`<li class="onair"><div class="line">
    <button type="button" class="bare" aria-expanded=${open ? "true" : "false"} aria-label=${t("overview.show_viewers", { name: film.name || film.key })}
      onClick=${() => setOpen(!open)}><${Icon} name=${open ? "down" : "right"} /></button>
    <div class="what"><strong class="clip">${film.name || film.key}</strong><small class="clip">${film.engine || film.source}</small></div>
    <span class="state"><${Badge} kind=${STATE_KINDS[film.state] ?? ""}>${word("channel.state", film.state)}<//></span>
    <span class="cell" data-label=${t("overview.size")}>${film.length === null ? "–" : size(film.length)}</span>
    <span class="cell" data-label=${t("overview.peers")}>${film.peers ?? "–"}</span>
    <span class="cell" data-label=${t("overview.viewers")}>${number(film.viewer_count)}</span><span class="tools"><${Button} icon="stop" text=${false} label=${t("overview.stop")} onClick=${stop} /></span></div>
    ${open && html`<${Watchers} of=${film} film=${true} />`}</li>`;
}

function Engines({ engines }) {
  if (!engines.size) return html`<${Nothing} text=${t("engines.none")} />`;
  return html`<ul class="plain-list">${[...engines.values()].map((engine) => html`<li key=${engine.id ?? engine.url} class="engine"><span class="clip">${engine.url}</span>
    <${Badge} kind=${engine.state === "up" ? "good" : "warn"}>${word("engine.state", engine.state)}<//>
    <span>${t("engines.used", { used: engine.sessions + engine.starting, of: engine.capacity })}</span></li>`)}</ul>`;
}

export default function Overview({ who }) {
  const { channels, films, engines, steps, totals, error } = useLive();
  const [playing, setPlaying] = useState(null);
  const shown = [...channels.values()].sort((one, other) => other.viewer_count - one.viewer_count || one.name.localeCompare(other.name) || one.key.localeCompare(other.key));
  return html`<${Head} title=${t("nav.overview")} />
    <${Trouble} error=${error} />
    <${Figures} totals=${totals} />
    <${Charts} totals=${totals} />
    <section><h2>${t("overview.on_air")}</h2>
      ${shown.length ? html`<ul class="plain-list">${shown.map((channel) => html`<${OnAir} key=${channel.key} channel=${channel} steps=${steps.filter((one) => one.key === channel.key)} onPlay=${setPlaying} />`)}</ul>` : totals && html`<${Nothing} text=${t("overview.nothing")} />`}</section>
    ${films.size > 0 && html`<section><h2>${t("overview.films")}</h2><ul class="plain-list">${[...films.values()].map((film) => html`<${Film} key=${film.key} film=${film} />`)}</ul></section>`}
    ${totals && html`<section><h2>${t("overview.lately")}</h2>${steps.length ? html`<${Steps} steps=${steps.slice(0, LATELY)} />` : html`<${Nothing} text=${t("overview.lately.none")} />`}</section>`}
    ${totals && html`<section><h2>${t("nav.engines")}</h2><${Engines} engines=${engines} /></section>`}
    ${playing && html`<${Player} channel=${{ id: playing.channel_ids[0], name: playing.name }} who=${who} onClose=${() => setPlaying(null)} />`}`;
}
