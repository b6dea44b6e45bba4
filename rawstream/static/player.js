// A channel or a film in the page. Owns: which player takes it, and what is said where none can. Must not
// know: lists of channels. The stream is the server's for operators: it counts in nobody's limit.

import { address, get } from "./api.js";
import { Badge, Dialog, html, script, Shown, Trouble, useEffect, useRef, useState, Waiting } from "./ui.js";
import { codecsIn } from "./codecs.js";
import { useLive } from "./live.js";
import { t } from "./text.js";

const here = (name) => new URL(name, import.meta.url).href;
// what an MPEG-TS has, by FFmpeg's names, as Media Source Extensions ask for it
const CODECS = {
  h264: 'video/mp4; codecs="avc1.640028"', hevc: 'video/mp4; codecs="hvc1.1.6.L120.90"', mpeg1video: 'video/mp4; codecs="mp4v.6a"',
  mpeg2video: 'video/mp4; codecs="mp4v.61"', mpeg4: 'video/mp4; codecs="mp4v.20.9"', vc1: 'video/mp4; codecs="vc-1"',
  av1: 'video/mp4; codecs="av01.0.08M.08"', ac3: 'audio/mp4; codecs="ac-3"', eac3: 'audio/mp4; codecs="ec-3"',
  mp2: "audio/mpeg", aac: 'audio/mp4; codecs="mp4a.40.2"', aac_latm: 'audio/mp4; codecs="mp4a.40.2"', opus: 'audio/mp4; codecs="opus"',
  dts: 'audio/mp4; codecs="dtsc"', truehd: 'audio/mp4; codecs="mlpa"', mp3: "audio/mpeg", vp9: 'video/mp4; codecs="vp09.00.10.08"',
};

/** Of a film; "" for what is live. */
const extensionOf = (channel) => (["movie", "episode"].includes(channel.kind) ? channel.extension || "mp4" : "");

/** Those of a stream's codecs that this browser is known not to have. */
export function unplayable(codecs, media = window.MediaSource) {
  return codecs.filter((name) => {
    const type = CODECS[name];
    return type && media && !media.isTypeSupported(type);
  });
}

const TRANSPORT = ["ts", "m2ts", "mts"];

async function byMpegts(video, url, fail, isLive = true) {
  await script(here("vendor/mpegts.js"));
  const { mpegts } = window;
  mpegts.LoggingControl.enableAll = false;
  if (!mpegts.getFeatureList().mseLivePlayback) return null;
  const player = mpegts.createPlayer(
    { type: "mpegts", isLive, url, cors: false },
    { enableWorker: false, liveBufferLatencyChasing: isLive, liveBufferLatencyMaxLatency: 8, liveBufferLatencyMinRemain: 2 },
  );
  player.on(mpegts.Events.ERROR, (kind, detail, info) => fail(info?.msg || detail || kind));
  player.attachMediaElement(video);
  player.load();
  video.play().catch(() => {}); // who has to press play himself sees the controls
  return () => player.destroy();
}

/** Where a browser can't be fed with what comes in one stream: hls.js, or the browser itself. */
async function byHls(video, url, fail) {
  const { default: Hls } = await import("./vendor/hls.light.js");
  if (!Hls.isSupported()) return video.canPlayType("application/vnd.apple.mpegurl") ? asFile(video, url, fail) : null;
  const hls = new Hls({ enableWorker: false });
  hls.on(Hls.Events.ERROR, (_, told) => told.fatal && fail(told.reason || told.details));
  hls.loadSource(url);
  hls.attachMedia(video);
  video.play().catch(() => {});
  return () => hls.destroy();
}

/** What the browser fetches by itself: a film, in parts as it likes. */
function asFile(video, url, fail) {
  video.src = url;
  video.onerror = () => fail(t("play.film.why"));
  video.play().catch(() => {});
  return () => {
    video.onerror = null;
    video.removeAttribute("src");
    video.load();
  };
}

/** The address for a player of one's own: by the token of who is logged in. */
async function elsewhere(channel, who) {
  const urls = await get(`accounts/${who.account_id}/urls`);
  const token = new URL(urls.playlist).searchParams.get("token");
  const folder = { movie: "movie", episode: "series" }[channel.kind] ?? "live";
  return token ? `${urls.server}/${folder}/${token}/${channel.id}.${extensionOf(channel) || "ts"}` : "";
}

/** `channel`: `{id, name, kind, extension}`. A channel's codecs are known once it is on air, a film's once
 *  something of it was read. */
export default function Player({ channel, who, onClose }) {
  const video = useRef(null);
  const [state, setState] = useState("starting");
  const [why, setWhy] = useState("");
  const [url, setUrl] = useState("");
  const onAir = [...useLive().channels.values()].find((one) => one.channel_ids.includes(channel.id));
  const [inFile, setInFile] = useState([]);
  const codecs = onAir?.codecs ?? inFile;
  const missing = unplayable(codecs);
  const extension = extensionOf(channel);
  useEffect(() => {
    let end = null;
    let gone = false;
    const fail = (reason) => {
      if (gone) return;
      setWhy(reason);
      setState("failed");
    };
    const film = address(`live/play/${channel.id}.${extension}`);
    const look = () => codecsIn(film).then((found) => !gone && setInFile(found));
    const failFilm = (reason) => look().then(() => fail(reason), (error) => fail(error.message));
    const begin = async () => {
      if (!extension) {
        end = await byMpegts(video.current, address(`live/play/${channel.id}.ts`), fail);
        end ??= await byHls(video.current, address(`live/play/${channel.id}.m3u8`), fail);
      } else if (TRANSPORT.includes(extension)) {
        end = await byMpegts(video.current, film, failFilm, false);
      } else {
        end = asFile(video.current, film, failFilm);
      }
      if (extension) video.current?.addEventListener("playing", () => look().catch(() => {}), { once: true });
      if (!end) fail(t("play.no_player"));
      if (gone) end?.();
    };
    begin().catch((error) => fail(error.message));
    return () => {
      gone = true;
      end?.();
    };
  }, [channel.id]);
  useEffect(() => {
    if (who) elsewhere(channel, who).then(setUrl, () => {});
  }, [who, channel.id]);
  return html`<${Dialog} title=${channel.name} onClose=${onClose} wide=${true}>
    <video ref=${video} class="player" controls muted playsinline onPlaying=${() => setState("playing")}></video>
    ${state === "starting" && html`<${Waiting} busy=${extension ? t("play.film.starting") : t("play.starting")} />`}
    ${state === "failed" && !missing.length && html`<${Trouble} error=${new Error(t("play.failed", { why }))} />`}
    ${codecs.length > 0 && html`<p>${t("play.codecs")} ${codecs.map((name) => html`<${Badge} key=${name} kind=${missing.includes(name) ? "bad" : ""}>${name}<//> `)}</p>`}
    ${missing.length > 0 && html`<p class="trouble" role="alert">${t("play.missing", { codecs: missing.join(", ") })}</p>`}
    ${url && html`<${Shown} label=${t("play.elsewhere")} value=${url} />`}<//>`;
}
