// Accounts: who may watch. Owns: this page: limits, passwords shown once, addresses for players.

import { exchange, patch, post, remove, useGet } from "./api.js";
import { Area, attempt, Badge, Button, Check, Choice, Dialog, Head, html, note, Nothing, Search, Several, Shown, Submit, sure, Tabs, Text, Trouble, useEffect, useForm, useState, Waiting, Whole } from "./ui.js";
import { dateMoment, dateValue, day, number, size } from "./format.js";
import { t, word } from "./text.js";

const PAGE = 100;
const STATUS_KINDS = { Active: "good", Expired: "warn", Disabled: "off" };
const FORMATS = [["ts", "MPEG-TS"], ["m3u8", "HLS"]];

/** A picture of a text that a phone or a television reads. Drawn here: it may hold a password. */
function Code({ text, label }) {
  const [code, setCode] = useState(null);
  useEffect(() => {
    let current = true;
    import("./vendor/uqr.js").then(({ encode }) => current && setCode(encode(text, { border: 2 })), () => {});
    return () => { current = false; };
  }, [text]);
  if (!code) return html`<div class="qr"></div>`;
  const path = code.data.map((cells, y) => cells.map((on, x) => (on ? `M${x} ${y}h1v1h-1z` : "")).join("")).join("");
  return html`<svg class="qr" viewBox="0 0 ${code.size} ${code.size}" role="img" aria-label=${t("accounts.qr", { what: label })} shape-rendering="crispEdges"><path d=${path} /></svg>`;
}

function Urls({ account, urls, password }) {
  const [shown, setShown] = useState("playlist");
  const labels = { playlist: t("accounts.playlist"), playlist_hls: t("accounts.playlist_hls"), guide: t("accounts.guide") };
  return html`${password && html`<p class="lead">${t("accounts.once")}</p>`}
    <div class="secrets"><div><${Shown} label=${t("accounts.server")} value=${urls.server} />
      ${password && html`<${Shown} label=${t("login.username")} value=${account.username} /><${Shown} label=${t("login.password")} value=${password} />`}
      ${Object.entries(labels).map(([key, label]) => html`<${Shown} key=${key} label=${label} value=${urls[key]} />`)}</div>
    <div><${Tabs} label=${t("accounts.qr.which")} value=${shown} onInput=${setShown} options=${Object.entries(labels)} />
      <${Code} text=${urls[shown]} label=${labels[shown]} /></div></div>`;
}

function Secrets({ made, title, onClose }) {
  return html`<${Dialog} wide=${true} title=${title} onClose=${onClose} footer=${html`<${Button} label=${t("done")} onClick=${onClose} />`}>
    <${Urls} account=${made} urls=${made.urls} password=${made.password} /><//>`;
}

function Addresses({ account, onClose, onReset }) {
  const { data, error } = useGet(`accounts/${account.id}/urls`);
  return html`<${Dialog} wide=${true} title=${t("accounts.urls", { name: account.username })} onClose=${onClose}
    footer=${html`<${Button} kind="secondary" label=${t("accounts.reset.token")} onClick=${() => onReset("token")} />
      <${Button} kind="secondary" label=${t("accounts.reset.password")} onClick=${() => onReset("password")} />
      <span class="gap"></span><${Button} label=${t("done")} onClick=${onClose} />`}>
    <${Trouble} error=${error} />${!data && !error && html`<${Waiting} />`}
    ${data && html`<p class="lead">${t("accounts.by_token")}</p><${Urls} account=${account} urls=${data} />`}<//>`;
}

const FIELDS = ["username", "enabled", "admin", "trial", "expires_at", "max_connections", "allowed_formats", "categories", "show_adult", "notes"];
const EMPTY = { username: "", password: "", enabled: true, admin: false, trial: false, expires_at: null, max_connections: 1, allowed_formats: ["ts", "m3u8"], categories: null, show_adult: true, notes: "" };

/** What of an account may be set. `kept`: the one that is edited. */
function Fields({ form, kept, categories }) {
  const { field, values, set } = form;
  return html`<div class="grid"><${Text} label=${t("login.username")} ...${field("username")} autocomplete="off" autocapitalize="none" required />
      <${Text} label=${t("login.password")} ...${field("password")} type="password" autocomplete="new-password" hint=${kept ? t("accounts.password.keep") : t("accounts.password.random")} /></div>
    <div class="grid"><${Text} label=${t("accounts.expires")} ...${field("expires_at")} type="date" value=${dateValue(values.expires_at)}
        onInput=${(text) => set("expires_at", dateMoment(text))} hint=${t("accounts.expires.hint")} />
      <${Whole} label=${t("accounts.connections")} ...${field("max_connections")} min="0" max="100000" hint=${t("accounts.connections.hint")} /></div>
    <div class="checks"><${Check} label=${t("accounts.enabled")} ...${field("enabled")} /><${Check} label=${t("accounts.admin")} ...${field("admin")} />
      <${Check} label=${t("accounts.trial")} ...${field("trial")} /><${Check} label=${t("accounts.adult")} ...${field("show_adult")} /></div>
    <${Several} label=${t("accounts.formats")} ...${field("allowed_formats")} options=${FORMATS} />
    <${Check} label=${t("accounts.all_categories")} value=${values.categories === null} onInput=${(all) => set("categories", all ? null : categories.map((one) => one.id))} />
    ${values.categories !== null && html`<${Several} label=${t("channels.categories")} ...${field("categories")} options=${categories.map((one) => [one.id, one.name])} />`}
    <${Area} label=${t("accounts.notes")} ...${field("notes")} rows="2" />`;
}

function Editor({ id, who, onClose, onDone }) {
  const form = useForm(EMPTY);
  const [kept, setKept] = useState(null);
  const { data } = useGet("categories", { limit: 1000 });
  useEffect(() => {
    if (!id) return;
    exchange("GET", `accounts/${id}`).then(([found, tag]) => {
      setKept({ ...found, tag });
      form.setValues({ ...EMPTY, ...found });
    }, form.setError);
  }, [id]);
  const save = async () => {
    const done = await form.send((values) => {
      const given = Object.fromEntries(FIELDS.map((name) => [name, values[name]]).filter(([name, value]) => !kept || JSON.stringify(value) !== JSON.stringify(kept[name])));
      if (values.password) given.password = values.password;
      return id ? patch(`accounts/${id}`, given, kept.tag) : post("accounts", given);
    });
    if (done === undefined) return;
    if (id && id === who?.account_id && form.values.password) await attempt(() => post("session", { username: done.username, password: form.values.password }));
    onDone(id ? null : done);
  };
  return html`<${Dialog} wide=${true} title=${id ? t("accounts.edit") : t("accounts.new")} onClose=${onClose} onSubmit=${save}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("save")} busy=${form.busy} disabled=${id && !kept} />`}>
    <${Trouble} error=${form.error} />
    ${id && !kept && !form.error ? html`<${Waiting} />` : html`<${Fields} form=${form} kept=${kept} categories=${data?.items ?? []} />`}<//>`;
}

function Account({ account, act, onEdit, onUrls }) {
  const name = account.username;
  const path = `accounts/${account.id}`;
  const kick = async () => {
    if (await sure(t("accounts.kick.sure", { name }), t("viewer.kick"))) await act(() => post(`${path}/kick`), (told) => t("accounts.kicked", { n: told.streams }));
  };
  const erase = async () => {
    if (await sure(t("accounts.delete.sure", { name }), t("delete"))) await act(() => remove(path), t("deleted"));
  };
  const flip = () => act(() => patch(path, { enabled: !account.enabled }), t("saved"));
  return html`<tr><th scope="row" data-label=${t("login.username")}><span class="clip">${name}</span>${account.notes && html`<small class="clip" title=${account.notes}>${account.notes}</small>`}</th>
    <td data-label=${t("accounts.status")}><span class="badges"><${Badge} kind=${STATUS_KINDS[account.status]}>${word("accounts.status", account.status)}<//>
      ${account.admin && html`<${Badge}>${t("accounts.admin")}<//>`}${account.trial && html`<${Badge}>${t("accounts.trial")}<//>`}</span></td>
    <td data-label=${t("accounts.expires")}>${account.expires_at ? day(account.expires_at) : t("accounts.never")}</td>
    <td class="right" data-label=${t("accounts.watching")}>${number(account.watching)} / ${account.max_connections || "∞"}</td>
    <td class="right" data-label=${t("accounts.bytes")}>${size(account.bytes)}</td>
    <td class="right"><span class="tools"><${Button} icon="link" text=${false} label=${t("accounts.urls", { name })} onClick=${() => onUrls(account)} />
      <${Button} icon="power" text=${false} label=${account.enabled ? t("disable.what", { name }) : t("enable.what", { name })} onClick=${flip} />
      <${Button} icon="kick" text=${false} label=${t("accounts.kick", { name })} onClick=${kick} disabled=${!account.watching} />
      <${Button} icon="edit" text=${false} label=${t("edit.what", { name })} onClick=${() => onEdit(account.id)} />
      <${Button} icon="trash" text=${false} label=${t("delete.what", { name })} onClick=${erase} /></span></td></tr>`;
}

export default function Accounts({ who }) {
  const [filter, setFilter] = useState({ q: "", status: "" });
  const [offset, setOffset] = useState(0);
  const [dialog, setDialog] = useState(null);
  const { data, error, busy, reload } = useGet("accounts", { ...filter, offset, limit: PAGE });
  const act = async (work, done) => {
    if ((await attempt(work, done)) !== undefined) await reload();
  };
  const set = (part) => {
    setOffset(0);
    setFilter((before) => ({ ...before, ...part }));
  };
  const done = (made) => {
    setDialog(made ? { made } : null);
    if (!made) note(t("saved"));
    reload();
  };
  const reset = async (account, what) => {
    if (!(await sure(what === "token" ? t("accounts.reset.token.sure") : t("accounts.reset.password.sure"), t("accounts.reset")))) return;
    const made = await attempt(() => post(`accounts/${account.id}/reset`, { what }));
    if (!made) return;
    if (what === "password" && account.id === who?.account_id) await attempt(() => post("session", { username: made.username, password: made.password }));
    setDialog({ made });
  };
  const close = () => setDialog(null);
  const statuses = [["", t("accounts.status.all")], ["Active", t("accounts.status.Active")], ["Expired", t("accounts.status.Expired")], ["Disabled", t("accounts.status.Disabled")]];
  return html`<${Head} title=${t("nav.accounts")}><${Button} icon="plus" label=${t("accounts.new")} onClick=${() => setDialog({ edit: 0 })} /><//>
    <search class="filter"><${Search} label=${t("accounts.search")} value=${filter.q} onInput=${(q) => set({ q })} />
      <${Choice} hidden=${true} label=${t("accounts.status")} value=${filter.status} onInput=${(status) => set({ status })} options=${statuses} /></search>
    <${Trouble} error=${error} />${busy && !data && html`<${Waiting} />`}
    ${data && !data.items.length && html`<${Nothing} text=${t("accounts.none")} />`}
    ${data?.items.length > 0 && html`<div class="scroll"><table class="stack"><thead><tr><th scope="col">${t("login.username")}</th><th scope="col">${t("accounts.status")}</th>
      <th scope="col">${t("accounts.expires")}</th><th scope="col" class="right">${t("accounts.watching")}</th><th scope="col" class="right">${t("accounts.bytes")}</th>
      <th scope="col"><span class="hidden">${t("actions")}</span></th></tr></thead>
      <tbody>${data.items.map((account) => html`<${Account} key=${account.id} account=${account} act=${act} onEdit=${(id) => setDialog({ edit: id })} onUrls=${(urls) => setDialog({ urls })} />`)}</tbody></table></div>`}
    ${data?.total > PAGE && html`<div class="pages"><${Button} icon="left" kind="secondary" label=${t("back")} disabled=${offset === 0} onClick=${() => setOffset(offset - PAGE)} />
      <span>${t("range", { from: offset + 1, to: Math.min(offset + PAGE, data.total), of: number(data.total) })}</span>
      <${Button} icon="right" kind="secondary" label=${t("forward")} disabled=${offset + PAGE >= data.total} onClick=${() => setOffset(offset + PAGE)} /></div>`}
    ${dialog?.edit !== undefined && html`<${Editor} id=${dialog.edit} who=${who} onClose=${close} onDone=${done} />`}
    ${dialog?.urls && html`<${Addresses} account=${dialog.urls} onClose=${close} onReset=${(what) => reset(dialog.urls, what)} />`}
    ${dialog?.made && html`<${Secrets} made=${dialog.made} title=${t("accounts.made", { name: dialog.made.username })} onClose=${close} />`}`;
}
