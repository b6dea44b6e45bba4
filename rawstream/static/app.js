// The dashboard: its frame, and which page is in it. Owns: navigation, language, theme, leaving. Must
// not know: what the pages do; each is a module of its own that is fetched when it is first shown.

import { ask, get, Problem } from "./api.js";
import { Button, Head, html, Icon, Notes, Question, render, Trouble, useEffect, useRef, useState, Waiting } from "./ui.js";
import { useLive } from "./live.js";
import { choose, language, NAMES, t } from "./text.js";

const PAGES = {
  overview: () => import("./page_overview.js"),
  channels: () => import("./page_channels.js"),
  guide: () => import("./page_guide.js"),
  lists: () => import("./page_lists.js"),
  accounts: () => import("./page_accounts.js"),
  engines: () => import("./page_engines.js"),
  search: () => import("./page_search.js"),
  settings: () => import("./page_settings.js"),
  log: () => import("./page_log.js"),
};
const FIRST = () => import("./page_first.js");
const TITLES = {
  overview: t("nav.overview"), channels: t("nav.channels"), guide: t("nav.guide"), lists: t("nav.lists"),
  accounts: t("nav.accounts"), engines: t("nav.engines"), search: t("nav.search"),
  settings: t("nav.settings"), log: t("nav.log"), first: t("nav.first"),
};

function named() {
  const name = location.hash.replace(/^#\//, "").split("?")[0];
  return name === "first" || name in PAGES ? name : "overview";
}

function usePage() {
  const [name, setName] = useState(named());
  const [shown, setShown] = useState({});
  useEffect(() => {
    const look = () => setName(named());
    addEventListener("hashchange", look);
    return () => removeEventListener("hashchange", look);
  }, []);
  useEffect(() => {
    let current = true;
    document.title = `${TITLES[name]} · rawstream`;
    (name === "first" ? FIRST : PAGES[name])().then(
      (module) => current && setShown({ name, Page: module.default }),
      () => current && setShown({ name, error: new Problem(0, { detail: t("problem.network") }) }),
    );
    return () => { current = false; };
  }, [name]);
  return [name, shown.name === name ? shown : {}];
}

function Theme() {
  const root = document.documentElement;
  const [theme, setTheme] = useState(root.dataset.theme);
  const flip = () => {
    const next = theme === "dark" ? "light" : "dark";
    root.dataset.theme = next;
    localStorage.setItem("theme", next);
    setTheme(next);
    dispatchEvent(new Event("themechange"));
  };
  const dark = theme === "dark";
  return html`<${Button} icon=${dark ? "sun" : "moon"} text=${false} label=${dark ? t("theme.light") : t("theme.dark")} onClick=${flip} />`;
}

function Languages() {
  return html`<select class="language" aria-label=${t("language")} onChange=${(event) => choose(event.target.value)}>
    ${Object.entries(NAMES).map(([code, name]) => html`<option value=${code} lang=${code} selected=${code === language}>${name}</option>`)}</select>`;
}

function Connection() {
  const { connected, error } = useLive();
  const state = connected ? "on" : "off";
  return html`<span class="connection ${state}" role="status" title=${error?.message}>${connected ? t("live.on") : t("live.off")}</span>`;
}

function App() {
  const [name, { Page, error }] = usePage();
  const [open, setOpen] = useState(false);
  const [who, setWho] = useState(null);
  const main = useRef(null);
  const first = useRef(true);
  useEffect(() => { get("session").then(setWho, () => {}); }, []);
  useEffect(() => {
    setOpen(false);
    if (!first.current) main.current.focus(); // a screen reader begins with the new page
    first.current = false;
  }, [name]);
  const leave = async () => {
    await ask("DELETE", "session").catch(() => {});
    location.assign(new URL("login", document.baseURI));
  };
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>${t("skip")}</a>
    <header class="side ${open ? "open" : ""}">
      <div class="brand"><a href="#/overview"><img src="favicon.svg" alt="" width="24" height="24" /> rawstream</a>
        <button type="button" class="bare menu" aria-expanded=${open ? "true" : "false"} aria-controls="nav" aria-label=${t("menu")}
          onClick=${() => setOpen(!open)}><${Icon} name="menu" /></button></div>
      <div id="nav" class="drawer"><nav aria-label=${t("nav")}><ul>${Object.keys(PAGES).map((key) => html`<li key=${key}>
        <a href="#/${key}" aria-current=${key === name ? "page" : undefined}><${Icon} name=${key} /> ${TITLES[key]}</a></li>`)}</ul></nav>
      <div class="foot"><${Connection} /><div class="tools"><${Languages} /><${Theme} />
        <${Button} icon="exit" text=${false} label=${who ? t("leave.who", { name: who.username }) : t("leave")} onClick=${leave} /></div></div></div>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      ${Page ? html`<${Page} who=${who} />` : html`<${Head} title=${TITLES[name]} />${error ? html`<${Trouble} error=${error} />` : html`<${Waiting} />`}`}
    </main><${Notes} /><${Question} />`;
}

render(html`<${App} />`, document.getElementById("app"));
