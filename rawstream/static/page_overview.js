// What is on air and who watches. Owns: this page.

import { post, useGet } from "./api.js";
import { attempt, Badge, Button, Head, html, Icon, Nothing, sure, Trouble, useEffect, useRef, useState, Waiting } from "./ui.js";
import { Chart } from "./chart.js";
import { bitRate, decimal, duration, number, size } from "./format.js";
import { useLive, useViewers } from "./live.js";
import Player from "./player.js";
import { t, word } from "./text.js";

const VIEWERS_SHOWN = 200; // more are not read; those furthest behind come first
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

const address = (viewer) => (viewer.address.includes(":") ? `[${viewer.address}]` : viewer.address) + (viewer.port ? `:${viewer.port}` : "");

function Viewer({ viewer, film }) {
  const kick = async () => {
    if (await sure(t("viewer.kick.sure", { who: viewer.account || viewer.address }), t("viewer.kick"))) {
      await attempt(() => post(`viewers/${encodeURIComponent(viewer.id)}/kick`), t("viewer.kicked"));
    }
  };
  const late = viewer.seconds_behind > 10 ? "late" : "";
  return html`<tr><th scope="row" data-label=${t("viewer.player")}><span class="clip" title=${viewer.user_agent}>${viewer.user_agent || "–"}</span></th>
    <td data-label=${t("viewer.account")}>${viewer.account || "–"}</td>
    <td data-label=${t("viewer.address")}>${address(viewer)}</td>
    <td data-label=${t("viewer.state")}>${word("viewer.state", viewer.state)}</td>
    ${film
      ? html`<td class="right" data-label=${t("viewer.place")}>${viewer.percent === null ? "–" : `${decimal(viewer.percent)} %`}</td>
        <td class="right" data-label=${t("viewer.speed")}>${bitRate(viewer.bits_per_second)}</td>`
      : html`<td class="right ${late}" data-label=${t("viewer.lag")}>${decimal(viewer.seconds_behind)} s</td>
        <td class="right" data-label=${t("viewer.drops")}>${viewer.jumps}</td>`}
    <td class="right" data-label=${t("viewer.since")}>${duration(viewer.seconds)}</td>
    <td class="right" data-label=${t("viewer.sent")}>${size(viewer.bytes_sent)}</td>
    <td class="right"><${Button} icon="kick" text=${false} label=${t("viewer.kick")} onClick=${kick} /></td></tr>`;
}

function Viewers({ viewers, film = false }) {
  if (!viewers.length) return html`<${Nothing} text=${t("viewer.none")} />`;
  const shown = [...viewers].sort((one, other) => (other.seconds_behind ?? 0) - (one.seconds_behind ?? 0)).slice(0, VIEWERS_SHOWN);
  return html`<div class="scroll"><table class="stack"><thead><tr><th scope="col">${t("viewer.player")}</th><th scope="col">${t("viewer.account")}</th>
    <th scope="col">${t("viewer.address")}</th><th scope="col">${t("viewer.state")}</th>
    <th scope="col" class="right">${film ? t("viewer.place") : t("viewer.lag")}</th><th scope="col" class="right">${film ? t("viewer.speed") : t("viewer.drops")}</th>
    <th scope="col" class="right">${t("viewer.since")}</th><th scope="col" class="right">${t("viewer.sent")}</th><th scope="col"><span class="hidden">${t("actions")}</span></th></tr></thead>
    <tbody>${shown.map((viewer) => html`<${Viewer} key=${viewer.id} viewer=${viewer} film=${film} />`)}</tbody></table></div>
    ${viewers.length > shown.length && html`<p class="nothing">${t("viewer.more", { n: viewers.length - shown.length })}</p>`}`;
}

/** Who watches a channel or a film: asked for as long as this is open. */
function Watchers({ of, film = false }) {
  useViewers(of.key);
  return of.viewers ? html`<${Viewers} viewers=${of.viewers} film=${film} />` : html`<${Waiting} />`;
}

function OnAir({ channel, onPlay }) {
  const [open, setOpen] = useState(false);
  const path = `live/${encodeURIComponent(channel.key)}`;
  const act = (verb, done) => () => attempt(() => post(`${path}/${verb}`), done);
  const stop = async () => {
    if (await sure(t("overview.stop.sure", { name: channel.name || channel.key }), t("overview.stop"))) await act("stop", t("overview.stopped"))();
  };
  return html`<li class="onair"><div class="line">
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
    ${channel.last_error && !["live", "lingering"].includes(channel.state) && html`<p class="trouble">${channel.last_error}</p>`}
    ${open && html`<${Watchers} of=${channel} />`}</li>`;
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
  const { channels, films, engines, totals, error } = useLive();
  const [playing, setPlaying] = useState(null);
  const shown = [...channels.values()].sort((one, other) => other.viewer_count - one.viewer_count || one.name.localeCompare(other.name) || one.key.localeCompare(other.key));
  return html`<${Head} title=${t("nav.overview")} />
    <${Trouble} error=${error} />
    <${Figures} totals=${totals} />
    <${Charts} totals=${totals} />
    <section><h2>${t("overview.on_air")}</h2>
      ${shown.length ? html`<ul class="plain-list">${shown.map((channel) => html`<${OnAir} key=${channel.key} channel=${channel} onPlay=${setPlaying} />`)}</ul>` : totals && html`<${Nothing} text=${t("overview.nothing")} />`}</section>
    ${films.size > 0 && html`<section><h2>${t("overview.films")}</h2><ul class="plain-list">${[...films.values()].map((film) => html`<${Film} key=${film.key} film=${film} />`)}</ul></section>`}
    ${totals && html`<section><h2>${t("nav.engines")}</h2><${Engines} engines=${engines} /></section>`}
    ${playing && html`<${Player} channel=${{ id: playing.channel_ids[0], name: playing.name }} who=${who} onClose=${() => setPlaying(null)} />`}`;
}
