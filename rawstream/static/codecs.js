// What a film's file says of its codecs. Owns: where MP4, Matroska, AVI and MPEG-TS write that. Must
// not know: what a browser can decode. Only its beginning is read, and the end of an MP4 that keeps
// its tables there.

import { refusal } from "./api.js";

const HEAD_BYTES = 256 * 1024;
const TAIL_BYTES = 1024 * 1024;
const PACKET = 188;

// by FFmpeg's names
const OF_MP4 = {
  avc1: "h264", avc3: "h264", hvc1: "hevc", hev1: "hevc", dvh1: "hevc", dvhe: "hevc", mp4v: "mpeg4", av01: "av1", vp09: "vp9",
  mp4a: "aac", "ac-3": "ac3", "ec-3": "eac3", dtsc: "dts", dtsh: "dts", dtse: "dts", Opus: "opus", fLaC: "flac", ".mp3": "mp3",
};
const OF_MATROSKA = {
  "V_MPEG4/ISO/AVC": "h264", "V_MPEGH/ISO/HEVC": "hevc", V_AV1: "av1", V_VP8: "vp8", V_VP9: "vp9", V_MPEG2: "mpeg2video", "V_MPEG4/ISO/ASP": "mpeg4",
  A_AAC: "aac", A_AC3: "ac3", A_EAC3: "eac3", A_DTS: "dts", "A_MPEG/L2": "mp2", "A_MPEG/L3": "mp3", A_OPUS: "opus", A_FLAC: "flac", A_TRUEHD: "truehd", A_VORBIS: "vorbis",
};
const OF_AVI = { xvid: "mpeg4", divx: "mpeg4", dx50: "mpeg4", h264: "h264", x264: "h264", avc1: "h264", hevc: "hevc", mjpg: "mjpeg" };
const OF_WAVE = { 0x50: "mp2", 0x55: "mp3", 0xff: "aac", 0x2000: "ac3", 0x2001: "dts" };
const OF_STREAM_TYPE = { 0x01: "mpeg1video", 0x02: "mpeg2video", 0x03: "mp2", 0x04: "mp2", 0x0f: "aac", 0x11: "aac_latm", 0x1b: "h264", 0x24: "hevc", 0x81: "ac3", 0x87: "eac3", 0xea: "vc1" };

const latin = (bytes) => new TextDecoder("latin1").decode(bytes);

/** A part of a file. Throws Problem where it is refused. */
async function part(url, range, most) {
  const control = new AbortController();
  const answer = await fetch(url, { headers: { Range: `bytes=${range}` }, signal: control.signal });
  if (!answer.ok) throw await refusal(answer);
  const found = [];
  let size = 0;
  const reader = answer.body.getReader();
  while (size < most) {
    const { done, value } = await reader.read();
    if (done) break;
    found.push(value);
    size += value.length;
  }
  control.abort(); // a server that knows no ranges sends the whole of it
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const piece of found) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}

/** ISO/IEC 14496-12, 8.5.2: the first sample entry of each track names its coding. */
function ofMp4(text) {
  const found = [];
  for (let at = text.indexOf("stsd"); at >= 0; at = text.indexOf("stsd", at + 4)) found.push(text.slice(at + 16, at + 20));
  return found.filter((name) => /^[ -~]{4}$/.test(name)).map((name) => OF_MP4[name] ?? name.trim());
}

const ofMatroska = (text) => [...text.matchAll(/[VA]_[A-Z0-9]+(?:\/[A-Z0-9]+)*/g)].map(([name]) => OF_MATROSKA[name] ?? OF_MATROSKA[name.split("/")[0]] ?? name);

/** A stream's header (strh) names its handler; a sound's format (strf) begins with its number. */
function ofAvi(text) {
  const pictures = [...text.matchAll(/vids(.{4})/gs)].map(([, name]) => OF_AVI[name.toLowerCase()] ?? name.trim());
  const sounds = [...text.matchAll(/auds.*?strf.{4}(.)(.)/gs)].map(([, low, high]) => OF_WAVE[low.charCodeAt(0) | (high.charCodeAt(0) << 8)]);
  return [...pictures, ...sounds];
}

/** ISO/IEC 13818-1, 2.4.4: the first program's map. */
function ofTransport(bytes) {
  let mapped = null;
  for (let at = 0; at + PACKET <= bytes.length && bytes[at] === 0x47; at += PACKET) {
    const pid = ((bytes[at + 1] & 0x1f) << 8) | bytes[at + 2];
    if (!(bytes[at + 1] & 0x40)) continue;
    const payload = at + 4 + (bytes[at + 3] & 0x20 ? 1 + bytes[at + 4] : 0);
    const table = payload + 1 + bytes[payload];
    const end = Math.min(at + PACKET, table + 3 + (((bytes[table + 1] & 0x0f) << 8) | bytes[table + 2]) - 4);
    if (pid === 0 && mapped === null) mapped = ((bytes[table + 10] & 0x1f) << 8) | bytes[table + 11];
    if (pid !== mapped || bytes[table] !== 2) continue;
    const found = [];
    let stream = table + 12 + (((bytes[table + 10] & 0x0f) << 8) | bytes[table + 11]);
    while (stream + 5 <= end) {
      const length = ((bytes[stream + 3] & 0x0f) << 8) | bytes[stream + 4];
      const about = [...bytes.subarray(stream + 5, stream + 5 + length)];
      const dvb = bytes[stream] === 6 && (about[0] === 0x6a ? "ac3" : about[0] === 0x7a ? "eac3" : null);
      found.push(dvb || OF_STREAM_TYPE[bytes[stream]]);
      stream += 5 + length;
    }
    return found;
  }
  return [];
}

/** The names of its codecs, as FFmpeg has them; none where it does not say. Throws Problem. */
export async function codecsIn(url) {
  const head = await part(url, `0-${HEAD_BYTES - 1}`, HEAD_BYTES);
  const text = latin(head);
  let found = [];
  if (head[0] === 0x47 && head[PACKET] === 0x47) found = ofTransport(head);
  else if (text.startsWith("\x1aE\xdf\xa3")) found = ofMatroska(text);
  else if (text.startsWith("RIFF") && text.slice(8, 11) === "AVI") found = ofAvi(text);
  else if (text.slice(4, 8) === "ftyp") {
    found = ofMp4(text);
    if (!found.length) found = ofMp4(latin(await part(url, `-${TAIL_BYTES}`, TAIL_BYTES)));
  }
  return [...new Set(found.filter(Boolean))];
}
