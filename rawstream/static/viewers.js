// Who watches one channel or film. Owns: this list, short as a table or long as a window on it, and
// kicking. Must not know: the rest of the overview.

import { post } from "./api.js";
import { attempt, Button, Choice, html, Nothing, sure, useNarrow, useRef, useState, Waiting, WindowedList } from "./ui.js";
import { bitRate, decimal, duration, number, size } from "./format.js";
import { useViewers } from "./live.js";
import { t, word } from "./text.js";

const MANY = 25; // more than these are looked through, not read
const HEIGHT = 46;
const HEIGHT_NARROW = 108;
const LATE_SECONDS = 10;

const address = (viewer) => (viewer.address.includes(":") ? `[${viewer.address}]` : viewer.address) + (viewer.port ? `:${viewer.port}` : "");
const ORDERS = {
  lag: (one, other) => other.seconds_behind - one.seconds_behind,
  seconds: (one, other) => one.seconds - other.seconds,
  sent: (one, other) => other.bytes_sent - one.bytes_sent,
  account: (one, other) => (one.account || "").localeCompare(other.account || ""),
  address: (one, other) => address(one).localeCompare(address(other), undefined, { numeric: true }),
};

async function kick(viewer) {
  if (await sure(t("viewer.kick.sure", { who: viewer.account || viewer.address }), t("viewer.kick"))) {
    await attempt(() => post(`viewers/${encodeURIComponent(viewer.id)}/kick`), t("viewer.kicked"));
  }
}

/** What is told of a viewer: its label, its text, how it is drawn. Of a film's his place in it. */
const COLUMNS = (film) => [
  [t("viewer.player"), (one) => one.user_agent || "–", "who"],
  [t("viewer.account"), (one) => one.account || "–", "account"],
  [t("viewer.address"), address, "address"],
  [t("viewer.state"), (one) => word("viewer.state", one.state), "state"],
  ...(film
    ? [[t("viewer.place"), (one) => (one.percent === null ? "–" : `${decimal(one.percent)} %`), "right lag"],
      [t("viewer.speed"), (one) => bitRate(one.bits_per_second), "right drops"]]
    : [[t("viewer.lag"), (one) => `${decimal(one.seconds_behind)} s`, "right lag"], [t("viewer.drops"), (one) => number(one.jumps), "right drops"]]),
  [t("viewer.since"), (one) => duration(one.seconds), "right since"],
  [t("viewer.sent"), (one) => size(one.bytes_sent), "right sent"],
];
const isLate = (viewer, kind) => (kind.includes("lag") && viewer.seconds_behind > LATE_SECONDS ? "late" : "");
const Kick = ({ viewer }) => html`<${Button} icon="kick" text=${false} label=${t("viewer.kick")} onClick=${() => kick(viewer)} />`;

function Table({ viewers, columns }) {
  const [[player, told], ...others] = columns;
  return html`<div class="scroll"><table class="stack"><thead><tr>${columns.map(([label, , kind]) => html`<th key=${kind} scope="col" class=${kind.includes("right") ? "right" : ""}>${label}</th>`)}
      <th scope="col"><span class="hidden">${t("actions")}</span></th></tr></thead>
    <tbody>${viewers.map((viewer) => html`<tr key=${viewer.id}><th scope="row" data-label=${player}><span class="clip" title=${viewer.user_agent}>${told(viewer)}</span></th>
      ${others.map(([label, text, kind]) => html`<td key=${kind} class="${kind.includes("right") ? "right" : ""} ${isLate(viewer, kind)}" data-label=${label}>${text(viewer)}</td>`)}
      <td class="right"><${Kick} viewer=${viewer} /></td></tr>`)}</tbody></table></div>`;
}

/** Of many only those are drawn that are seen; they are searched, and put in the order one needs. */
function Many({ viewers, columns, film }) {
  const [q, setQ] = useState("");
  const [order, setOrder] = useState(film ? "seconds" : "lag");
  const narrow = useNarrow();
  const wanted = q.trim().toLowerCase();
  const shown = viewers
    .filter((one) => !wanted || [one.user_agent, one.account, address(one), word("viewer.state", one.state)].some((text) => (text || "").toLowerCase().includes(wanted)))
    .sort((one, other) => ORDERS[order](one, other) || one.id - other.id);
  const orders = [...(film ? [] : [["lag", t("viewer.order.lag")]]), ["seconds", t("viewer.order.seconds")], ["sent", t("viewer.order.sent")],
    ["account", t("viewer.order.account")], ["address", t("viewer.order.address")]];
  const list = { total: shown.length, at: (index) => shown[index], need: () => {} };
  const row = (viewer) => html`<div class="viewer">${columns.map(([label, text, kind]) => html`<span key=${kind} class="${kind} clip ${isLate(viewer, kind)}" data-label=${label}
    title=${text(viewer)}>${text(viewer)}</span>`)}<${Kick} viewer=${viewer} /></div>`;
  return html`<div class="filter viewers-filter"><input type="search" class="search" aria-label=${t("viewer.search")} placeholder=${t("viewer.search")} value=${q} onInput=${(event) => setQ(event.target.value)} />
      <${Choice} hidden=${true} label=${t("viewer.order")} value=${order} onInput=${setOrder} options=${orders} />
      <span role="status">${t("viewer.these", { n: number(shown.length), of: number(viewers.length) })}</span></div>
    <div class="viewer titles" aria-hidden="true">${columns.map(([label, , kind]) => html`<span key=${kind} class=${kind}>${label}</span>`)}<span></span></div>
    ${shown.length ? html`<${WindowedList} list=${list} height=${narrow ? HEIGHT_NARROW : HEIGHT} row=${row} label=${t("overview.viewers")} />` : html`<${Nothing} text=${t("viewer.none_such")} />`}`;
}

function Viewers({ viewers, film }) {
  const many = useRef(false);
  many.current ||= viewers.length > MANY; // and stays so while it is open: it is not to change under a hand
  if (!viewers.length) return html`<${Nothing} text=${t("viewer.none")} />`;
  const columns = COLUMNS(film);
  if (many.current) return html`<${Many} viewers=${viewers} columns=${columns} film=${film} />`;
  const shown = [...viewers].sort((one, other) => (other.seconds_behind ?? 0) - (one.seconds_behind ?? 0));
  return html`<${Table} viewers=${shown} columns=${columns} />`;
}

/** Asked for as long as this is there. `of`: a channel or a film, as `useLive` has it. */
export default function Watchers({ of, film = false }) {
  useViewers(of.key);
  return of.viewers ? html`<${Viewers} viewers=${of.viewers} film=${film} />` : html`<${Waiting} />`;
}
