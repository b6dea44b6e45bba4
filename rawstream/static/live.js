// What is on air, as the server tells it. Owns: the one event stream of this page, the picture that
// is made of it. Must not know: how it is drawn. Nothing here asks twice for what an event tells.

import { useEffect, useState } from "./vendor/preact-hooks.js";
import { address, get } from "./api.js";

const TYPES = ["live", "engine", "ladder", "import", "history"];
const AGAIN_MS = 5000; // a stream that was refused is tried again after so long

const picture = { channels: new Map(), films: new Map(), engines: [], totals: {}, error: null };
const listeners = new Map(TYPES.map((type) => [type, new Set()]));
const watchers = new Set();
const opened = new Map(); // keys of channels whose viewers are shown, and by how many
let source = null;
let connected = false;
let due = 0;
let lastId = "";

function tell() {
  if (due) return;
  due = requestAnimationFrame(() => {
    due = 0;
    for (const watcher of watchers) watcher((count) => count + 1);
  });
}

function take(told) {
  for (const one of told.channels || []) {
    const before = picture.channels.get(one.key);
    picture.channels.set(one.key, { ...before, ...one });
  }
  for (const one of told.films || []) picture.films.set(one.key, one);
  for (const key of told.gone || []) {
    picture.channels.delete(key);
    picture.films.delete(key);
  }
  if (told.engines) picture.engines = told.engines;
  if (told.totals) picture.totals = { ...picture.totals, ...told.totals };
  tell();
}

/** The whole picture, afresh. */
export async function refresh() {
  try {
    const told = await get("live");
    picture.channels.clear();
    picture.films.clear();
    picture.error = null;
    take(told);
  } catch (error) {
    picture.error = error;
    tell();
  }
}

function connect() {
  source?.close();
  const stream = new EventSource(address("events", { viewers: [...opened.keys()], last_event_id: lastId }));
  source = stream;
  stream.onopen = () => {
    connected = true;
    tell();
  };
  stream.onerror = () => {
    connected = false;
    tell();
    if (stream.readyState === EventSource.CLOSED && source === stream) {
      setTimeout(() => source === stream && begin(), AGAIN_MS);
    }
  };
  for (const type of TYPES) {
    stream.addEventListener(type, (event) => {
      lastId = event.lastEventId || lastId;
      const told = JSON.parse(event.data);
      if (type === "live") take(told);
      if (type === "engine") takeEngine(told);
      for (const listener of listeners.get(type)) listener(told);
    });
  }
}

function takeEngine(told) {
  const engines = told.engines || [told];
  for (const one of engines) {
    const at = picture.engines.findIndex((engine) => engine.url === one.url);
    if (at < 0) picture.engines.push(one);
    else picture.engines[at] = { ...picture.engines[at], ...one };
  }
  tell();
}

async function begin() {
  await refresh();
  connect();
}

/** The picture, drawn again when it changes; the stream runs as long as the page does. */
export function useLive() {
  const [, redraw] = useState(0);
  useEffect(() => {
    watchers.add(redraw);
    if (!source) begin();
    return () => watchers.delete(redraw);
  }, []);
  return { ...picture, connected };
}

/** Hear of events of a type while the component is there. */
export function useEvents(type, listener) {
  useEffect(() => {
    listeners.get(type).add(listener);
    if (!source) begin();
    return () => listeners.get(type).delete(listener);
  }, [type, listener]);
}

/** Ask for the viewers of a channel too, while the component is there. */
export function useViewers(key) {
  useEffect(() => {
    opened.set(key, (opened.get(key) || 0) + 1);
    if (source) connect();
    return () => {
      if (opened.get(key) > 1) opened.set(key, opened.get(key) - 1);
      else opened.delete(key);
      connect();
    };
  }, [key]);
}
