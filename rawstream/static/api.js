// Asking the server: `/api/v1` as JSON. Owns: addresses, problems, entity tags. Must not know: what
// any operation means.

import { useCallback, useEffect, useRef, useState } from "./vendor/preact-hooks.js";
import { said, t, word } from "./text.js";

const ROOT = new URL("api/v1/", document.baseURI);

/** Why not, as a sentence. `fields`: by name, what is wrong with them. */
export class Problem extends Error {
  constructor(status, told) {
    const wrong = (told.errors || []).map((one) => [one.field, said(one, one.problem)]);
    const first = wrong.length && (wrong[0][0] ? `${word("field", wrong[0][0])}: ${wrong[0][1]}` : wrong[0][1]);
    super(first || said(told, told.detail) || told.title || t("problem.status", { status }));
    this.status = status;
    this.fields = Object.fromEntries(wrong);
  }
}

export function address(path, query = {}) {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null || value === "") continue;
    for (const one of [value].flat()) url.searchParams.append(name, one);
  }
  return url.href;
}

/** Path, method and body to `[answer, tag]`. Throws Problem. Who is not logged in is shown in. */
export async function exchange(method, path, body, { query, tag, signal, raw } = {}) {
  const headers = { Accept: "application/json" };
  if (raw) headers["Content-Type"] = "application/octet-stream";
  else if (body !== undefined) headers["Content-Type"] = "application/json";
  if (tag) headers["If-Match"] = tag;
  let answer;
  try {
    answer = await fetch(address(path, query), {
      method, headers, signal, body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { detail: t("problem.network") });
  }
  if (answer.ok) return [answer.status === 204 ? null : await content(answer), answer.headers.get("ETag")];
  if (answer.status === 401 && document.getElementById("app").dataset.door === undefined) {
    location.assign(new URL("login", document.baseURI));
  }
  throw await refusal(answer);
}

const isJson = (answer) => /\bjson\b/.test(answer.headers.get("Content-Type") || "");
const content = (answer) => (isJson(answer) ? answer.json() : answer.text());

/** What a refusal says, as a Problem. */
export async function refusal(answer) {
  const told = await content(answer);
  return new Problem(answer.status, isJson(answer) ? told : { detail: String(told).trim() });
}

export const ask = async (...given) => (await exchange(...given))[0];
export const get = (path, query, signal) => ask("GET", path, undefined, { query, signal });
export const post = (path, body = {}) => ask("POST", path, body);
export const patch = (path, body, tag) => ask("PATCH", path, body, { tag });
export const put = (path, body) => ask("PUT", path, body);
/** A file in pieces, in order. Returns the number of the upload; `far` hears of the part that is sent. */
export async function upload(path, file, far) {
  let { upload_id, size_bytes, piece_bytes } = await post(path);
  while (size_bytes < file.size) {
    const raw = file.slice(size_bytes, size_bytes + piece_bytes);
    const query = { offset: size_bytes };
    ({ size_bytes } = await ask("PUT", `${path}/${upload_id}`, undefined, { query, raw }));
    far(size_bytes / file.size);
  }
  return upload_id;
}

export const remove = (path) => ask("DELETE", path);

/** An answer for a component: `{data, error, busy, reload}`. Asks again when path or query change. */
export function useGet(path, query = {}) {
  const [state, setState] = useState({ data: null, error: null, busy: true });
  const wanted = path && address(path, query);
  const current = useRef(null);
  const reload = useCallback(async () => {
    if (!wanted) return;
    current.current?.abort();
    const control = (current.current = new AbortController());
    setState((before) => ({ ...before, busy: true }));
    try {
      const data = await get(wanted, {}, control.signal);
      setState({ data, error: null, busy: false });
    } catch (error) {
      if (error.name !== "AbortError") setState({ data: null, error, busy: false });
    }
  }, [wanted]);
  useEffect(() => {
    reload();
    return () => current.current?.abort();
  }, [reload]);
  return { ...state, reload };
}

const CHUNK = 200;
const AGAIN_MS = 3000;

/** A long list, of which only the parts that are looked at are asked for: `total`, `at(index)`,
 *  `need(from, to)`, `replace(index, item)` where it stands there still, `reload()`. */
export function useChunks(path, query) {
  const wanted = address(path, query);
  const [, redraw] = useState(0);
  const kept = useRef(null);
  const begin = () => ({ wanted, chunks: new Map(), total: 0, error: null, loaded: false });
  if (kept.current?.wanted !== wanted) {
    const before = kept.current;
    kept.current = { ...begin(), total: before?.total ?? 0 };
  }
  const load = useCallback(async (number, into) => {
    into.chunks.set(number, null);
    try {
      const page = await get(into.wanted, { offset: number * CHUNK, limit: CHUNK });
      into.chunks.set(number, page.items);
      into.total = page.total;
      into.error = null;
    } catch (error) {
      into.error = error;
      setTimeout(() => into.chunks.delete(number), AGAIN_MS); // asked for again when it is looked at
    }
    into.loaded = true;
    if (kept.current === into) redraw((count) => count + 1);
  }, []);
  const need = useCallback((from, to) => {
    const into = kept.current;
    const last = Math.floor(Math.max(from, to) / CHUNK);
    for (let number = Math.floor(Math.max(0, from) / CHUNK); number <= last; number += 1) {
      if (!into.chunks.has(number)) load(number, into);
    }
  }, [load]);
  const reload = useCallback(() => {
    const before = kept.current;
    const numbers = [...before.chunks.keys()].slice(-3);
    kept.current = { ...begin(), total: before.total, loaded: true, old: before.chunks };
    for (const number of numbers.length ? numbers : [0]) load(number, kept.current);
  }, [wanted, load]);
  useEffect(() => need(0, 0), [wanted, need]);
  const { chunks, old, total, error, loaded } = kept.current;
  const part = (index) => {
    const number = Math.floor(index / CHUNK);
    return chunks.get(number) ?? old?.get(number);
  };
  return {
    total, error, loaded, need, reload,
    at: (index) => part(index)?.[index % CHUNK],
    replace: (index, item) => {
      const found = kept.current.chunks.get(Math.floor(index / CHUNK)); // what is there by now
      if (found?.[index % CHUNK]?.id === item.id) {
        found[index % CHUNK] = item;
        redraw((count) => count + 1);
      } else reload();
    },
  };
}
