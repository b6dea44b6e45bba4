// What is on air, as the server tells it. Owns: the one event stream of this page, the picture that
// is made of it. Must not know: how it is drawn. The server tells all there is when a stream begins,
// and then what changes; nothing here is asked for again and again.

import { useEffect, useState } from "./vendor/preact-hooks.js";
import { address, get } from "./api.js";

const TYPES = ["live", "engine", "ladder", "import", "history"];
const STEPS = 200; // of ladders, that are remembered here
const AGAIN_MS = 5000; // a stream that was refused is tried again after so long

const picture = { channels: new Map(), films: new Map(), engines: new Map(), steps: [], totals: null, error: null };
const listeners = new Map(TYPES.map((type) => [type, new Set()]));
const watchers = new Set();
const opened = new Map(); // keys whose viewers are shown, and by how many
let source = null;
let connected = false;
let fresh = true;
let due = 0;
let moving = 0;
let lastId = "";

function tell() {
  if (due) return;
  due = requestAnimationFrame(() => {
    due = 0;
    for (const watcher of watchers) watcher((count) => count + 1);
  });
}

/** `since`: when its state began, on this machine's clock; how long it lasts is told only with news. */
function merged(before, told) {
  const one = { channel_ids: [], ...before, ...told };
  if (told.viewers) one.viewer_count = told.viewers.length;
  if (told.state_seconds !== undefined) one.since = Date.now() / 1000 - told.state_seconds;
  return one;
}

function takeEngines(told, whole) {
  if (whole) picture.engines.clear();
  for (const one of told.engines || []) picture.engines.set(one.id ?? one.url, one);
  for (const id of told.gone || []) picture.engines.delete(id);
}

/** The first event with totals tells all that is on air, the others what has changed. */
function takeLive(told) {
  const whole = told.full ?? (fresh && Boolean(told.totals));
  if (told.totals) {
    picture.totals = told.totals;
    fresh = false;
  }
  for (const name of ["channels", "films"]) {
    const known = picture[name];
    const before = new Map(known);
    if (whole) known.clear();
    for (const one of told[name] || []) {
      if (one.name === undefined && !known.has(one.key)) continue; // viewers of what is gone
      known.set(one.key, merged(before.get(one.key), one));
    }
    for (const key of told.gone || []) known.delete(key);
  }
  if (told.engines) takeEngines(told, true);
}

/** What a channel without a source tried; the newest first. */
function takeStep(told, id) {
  if (picture.steps.some((one) => one.id === id)) return;
  picture.steps = [{ ...told, id }, ...picture.steps].slice(0, STEPS);
}

function connect() {
  clearTimeout(moving);
  source?.close();
  const stream = new EventSource(address("events", { viewers: [...opened.keys()], last_event_id: lastId, lately: true }));
  source = stream;
  stream.onopen = () => {
    connected = true;
    fresh = true;
    picture.error = null;
    tell();
  };
  stream.onerror = () => {
    connected = false;
    tell();
    if (stream.readyState === EventSource.CLOSED && source === stream) refused(stream);
  };
  for (const type of TYPES) {
    stream.addEventListener(type, (event) => {
      lastId = event.lastEventId || lastId;
      const told = JSON.parse(event.data);
      if (type === "live") takeLive(told);
      if (type === "engine") takeEngines(told, told.full);
      if (type === "ladder") takeStep(told, event.lastEventId);
      if (type !== "import" && type !== "history") tell();
      for (const listener of listeners.get(type)) listener(told);
    });
  }
}

/** An event stream does not say why it was refused: another question does. */
async function refused(stream) {
  try {
    await get("session");
  } catch (error) {
    picture.error = error;
    tell();
  }
  moving = setTimeout(() => source === stream && connect(), AGAIN_MS);
}

/** The picture, drawn again when it changes; the stream runs as long as the page does. */
export function useLive() {
  const [, redraw] = useState(0);
  useEffect(() => {
    watchers.add(redraw);
    if (!source) connect();
    return () => watchers.delete(redraw);
  }, []);
  return { ...picture, connected };
}

/** Hear of events of a type while the component is there. */
export function useEvents(type, listener) {
  useEffect(() => {
    listeners.get(type).add(listener);
    if (!source) connect();
    return () => listeners.get(type).delete(listener);
  }, [type, listener]);
}

/** Ask for the viewers of a channel or a film too, while the component is there. */
export function useViewers(key) {
  useEffect(() => {
    opened.set(key, (opened.get(key) || 0) + 1);
    moving = setTimeout(connect);
    return () => {
      if (opened.get(key) > 1) opened.set(key, opened.get(key) - 1);
      else opened.delete(key);
      clearTimeout(moving);
      moving = setTimeout(connect);
    };
  }, [key]);
}
