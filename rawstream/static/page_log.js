// What has happened: the history of accounts and channels, and the end of the log. Owns: this page.

import { useGet } from "./api.js";
import { Badge, Button, Choice, Head, html, Nothing, Search, Tabs, Trouble, useCallback, useState, Waiting } from "./ui.js";
import { exact } from "./format.js";
import { useEvents } from "./live.js";
import { t, word } from "./text.js";

const ROWS = 200;
const LEVELS = { WARNING: "warn", ERROR: "bad", CRITICAL: "bad" };
const KINDS = ["login", "login refused", "play", "stop", "import", "edit"];

const Cell = ({ label, text, wraps }) =>
  html`<td data-label=${label} data-none=${text ? undefined : ""} class=${wraps ? "wraps" : ""}>${text || "–"}</td>`;

function History() {
  const [filter, setFilter] = useState({ q: "", kind: "", account: "" });
  const [heard, setHeard] = useState([]);
  const { data, error, busy } = useGet("history", { ...filter, limit: ROWS });
  useEvents("history", useCallback((told) => {
    setHeard((before) => [...[told.lines ?? told.items ?? told].flat().reverse(), ...before].slice(0, ROWS));
  }, []));
  const set = (part) => {
    setHeard([]);
    setFilter((before) => ({ ...before, ...part }));
  };
  const fits = (one) => (!filter.kind || one.kind === filter.kind) && (!filter.account || one.account === filter.account) && (!filter.q || JSON.stringify(one).toLowerCase().includes(filter.q.toLowerCase()));
  const rows = [...heard.filter(fits), ...(data?.items ?? [])].slice(0, 2 * ROWS);
  return html`<search class="filter"><${Search} label=${t("log.search")} value=${filter.q} onInput=${(q) => set({ q })} />
      <${Choice} hidden=${true} label=${t("log.kind")} value=${filter.kind} onInput=${(kind) => set({ kind })} options=${[["", t("log.kind.all")], ...KINDS.map((one) => [one, word("history", one)])]} />
      <${Search} label=${t("viewer.account")} value=${filter.account} onInput=${(account) => set({ account })} /></search>
    <${Trouble} error=${error} />${busy && !data && html`<${Waiting} />`}
    ${data && !rows.length && html`<${Nothing} text=${t("log.none")} />`}
    ${rows.length > 0 && html`<div class="scroll"><table class="stack"><thead><tr><th scope="col">${t("log.at")}</th><th scope="col">${t("log.kind")}</th><th scope="col">${t("viewer.account")}</th>
      <th scope="col">${t("log.channel")}</th><th scope="col">${t("viewer.address")}</th><th scope="col">${t("log.text")}</th></tr></thead>
      <tbody>${rows.map((one, at) => html`<tr key=${one.id ?? `${one.at}-${at}`}><td data-label=${t("log.at")}>${exact(one.at)}</td><td data-label=${t("log.kind")}><${Badge} kind=${one.kind === "login refused" ? "warn" : ""}>${word("history", one.kind)}<//></td>
        <${Cell} label=${t("viewer.account")} text=${one.account} /><${Cell} label=${t("log.channel")} text=${one.channel} />
        <${Cell} label=${t("viewer.address")} text=${one.address} /><${Cell} label=${t("log.text")} text=${one.text} wraps=${true} /></tr>`)}</tbody></table></div>`}`;
}

function Tail() {
  const [level, setLevel] = useState("");
  const { data, error, busy, reload } = useGet("log", { lines: 500, level });
  const lines = data?.lines ?? [];
  const options = [["", t("log.level.all")], ["info", "info"], ["warning", "warning"], ["error", "error"]];
  return html`<div class="filter"><${Choice} hidden=${true} label=${t("log.level")} value=${level} onInput=${setLevel} options=${options} />
      <${Button} icon="restart" kind="secondary" label=${t("log.again")} onClick=${reload} /></div>
    <${Trouble} error=${error} />${busy && !data && html`<${Waiting} />`}
    ${data && !lines.length && html`<${Nothing} text=${t("log.none")} />`}
    ${lines.length > 0 && html`<div class="tail" role="region" tabindex="0" aria-label=${t("log.tail")}>${lines.map((one) => html`<p key=${one.id}><time>${exact(one.at)}</time>
      <${Badge} kind=${LEVELS[String(one.level).toUpperCase()] ?? ""}>${one.level}<//> <span class="from">${one.logger}</span> ${one.text}</p>`)}</div>`}`;
}

export default function Log() {
  const [tab, setTab] = useState("history");
  return html`<${Head} title=${t("nav.log")}><${Tabs} label=${t("nav.log")} value=${tab} onInput=${setTab} options=${[["history", t("log.history")], ["tail", t("log.tail")]]} /><//>
    ${tab === "history" ? html`<${History} />` : html`<${Tail} />`}`;
}
