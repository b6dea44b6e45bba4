// A chart of the last hour. Owns: how uPlot is dressed. Must not know: what is drawn.

import { html, script, useEffect, useRef, useState } from "./ui.js";
import { hour } from "./format.js";

const HEIGHT = 170;
const STEPS = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((one) => one * 10 ** power)).flat();
const here = (name) => new URL(name, import.meta.url).href;

function style() {
  const of = getComputedStyle(document.documentElement);
  const colour = (name) => of.getPropertyValue(name).trim();
  return { ink: colour("--pico-muted-color"), lines: colour("--line"), colours: [colour("--first"), colour("--second")] };
}

const DAY = 86400;

/** At least ten minutes; those up to now where there is nothing yet. uPlot makes a day of one point. */
function span(low, high) {
  const end = high === null ? Date.now() / 1000 : high - low >= DAY ? low : high;
  return [Math.min(low ?? end, end - 600), end];
}

function options(width, series, show, least) {
  const { ink, lines, colours } = style();
  const axis = { stroke: ink, grid: { stroke: lines, width: 1 }, ticks: { stroke: lines, width: 1 }, font: "12px system-ui" };
  return {
    width, height: HEIGHT, padding: [10, 28, 0, 0], legend: { show: false }, cursor: { drag: { x: false, y: false } },
    scales: { x: { time: true, range: (_, low, high) => span(low, high) }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, least)] } },
    axes: [
      { ...axis, values: (_, marks) => marks.map((at) => hour(at)), space: 70 },
      { ...axis, incrs: STEPS, values: (_, marks) => marks.map((mark) => (mark ? show(mark) : "0")), size: 78 },
    ],
    series: [{}, ...series.map((label, at) => ({ label, stroke: colours[at], width: 2, fill: at === 0 && series.length === 1 ? `${colours[at]}22` : undefined, points: { show: false } }))],
  };
}

/** `data`: the times, then one list of numbers per label of `series`. `show`: a number as text.
 *  `least`: what the scale always reaches. */
export function Chart({ title, series, data, show, least = 1 }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [ready, setReady] = useState(Boolean(window.uPlot));
  const [theme, setTheme] = useState(0);
  useEffect(() => {
    script(here("vendor/uplot.js")).then(() => setReady(true), () => {});
    const look = () => setTheme((count) => count + 1);
    addEventListener("themechange", look);
    return () => removeEventListener("themechange", look);
  }, []);
  useEffect(() => {
    if (!ready || !box.current) return undefined;
    const width = () => Math.max(200, box.current.clientWidth);
    plot.current = new window.uPlot(options(width(), series, show, least), data, box.current);
    const watch = new ResizeObserver(() => box.current && plot.current?.setSize({ width: width(), height: HEIGHT }));
    watch.observe(box.current);
    return () => {
      watch.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [ready, theme]);
  useEffect(() => { plot.current?.setData(data); }, [data]);
  const last = data[0].length - 1;
  const now = series.map((label, at) => `${label} ${last < 0 ? "–" : show(data[at + 1][last])}`);
  return html`<figure class="chart"><figcaption><strong>${title}</strong>
    <span class="key">${now.map((text, at) => html`<span key=${at} class="series-${at}">${text}</span>`)}</span></figcaption>
    <div class="plot" ref=${box} role="img" aria-label="${title}: ${now.join(", ")}"></div></figure>`;
}
