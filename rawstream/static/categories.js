// The categories of the line-up: names, order, merging. Owns: this dialog.

import { patch, post, put, remove, useGet } from "./api.js";
import { attempt, Button, Check, Choice, Dialog, html, Nothing, Submit, sure, Text, Trouble, useForm, useState, Waiting } from "./ui.js";
import { t } from "./text.js";

function Merge({ category, others, onDone, onClose }) {
  const form = useForm({ into_id: others[0]?.id ?? "" });
  const go = async () => {
    const done = await form.send(({ into_id }) => post(`categories/${category.id}/merge`, { into_id: Number(into_id) }));
    if (done !== undefined) onDone();
  };
  return html`<${Dialog} title=${t("categories.merge.title", { name: category.name })} onClose=${onClose} onSubmit=${go}
    footer=${html`<${Button} kind="secondary" label=${t("cancel")} onClick=${onClose} /><${Submit} label=${t("categories.merge")} busy=${form.busy} />`}>
    <${Trouble} error=${form.error} />
    <${Choice} label=${t("categories.into")} ...${form.field("into_id")} options=${others.map((one) => [one.id, one.name])} /><//>`;
}

export default function Categories({ onClose }) {
  const { data, error, busy, reload } = useGet("categories", { limit: 1000 });
  const [merging, setMerging] = useState(null);
  const form = useForm({ name: "", adult: false });
  const items = data?.items ?? [];
  const act = async (work, done) => {
    if ((await attempt(work, done)) !== undefined) await reload();
  };
  const add = async () => {
    const done = await form.send((values) => post("categories", values));
    if (done === undefined) return;
    form.setValues({ name: "", adult: false });
    await reload();
  };
  const move = (at, step) => {
    const ids = items.map((one) => one.id);
    [ids[at], ids[at + step]] = [ids[at + step], ids[at]];
    return act(() => put("categories/order", { ids }), t("saved"));
  };
  const rename = (one, name) => name && name !== one.name && act(() => patch(`categories/${one.id}`, { name }), t("saved"));
  const erase = async (one) => {
    if (await sure(t("categories.delete.sure", { name: one.name }), t("delete"))) await act(() => remove(`categories/${one.id}`), t("deleted"));
  };
  return html`<${Dialog} wide=${true} title=${t("channels.categories")} onClose=${onClose} onSubmit=${add}>
    <${Trouble} error=${error || form.error} />
    <div class="adding"><${Text} label=${t("categories.new")} ...${form.field("name")} /><${Check} label=${t("categories.adult")} ...${form.field("adult")} />
      <${Submit} label=${t("add")} busy=${form.busy} /></div>
    ${busy && !data && html`<${Waiting} />`}
    ${data && !items.length && html`<${Nothing} text=${t("categories.none")} />`}
    <ul class="plain-list categories">${items.map((one, at) => html`<li key=${one.id}>
      <input aria-label=${t("categories.name")} value=${one.name} onChange=${(event) => rename(one, event.target.value.trim())}
        onKeyDown=${(event) => { if (event.key === "Enter") { event.preventDefault(); event.target.blur(); } }} />
      <${Check} label="18+" value=${one.adult} onInput=${(adult) => act(() => patch(`categories/${one.id}`, { adult }), t("saved"))} />
      <span class="tools"><${Button} icon="up" text=${false} label=${t("up.what", { name: one.name })} disabled=${at === 0} onClick=${() => move(at, -1)} />
      <${Button} icon="down" text=${false} label=${t("down.what", { name: one.name })} disabled=${at === items.length - 1} onClick=${() => move(at, 1)} />
      <${Button} icon="merge" text=${false} label=${t("categories.merge.what", { name: one.name })} disabled=${items.length < 2} onClick=${() => setMerging(one)} />
      <${Button} icon="trash" text=${false} label=${t("delete.what", { name: one.name })} onClick=${() => erase(one)} /></span></li>`)}</ul>
    ${merging && html`<${Merge} category=${merging} others=${items.filter((one) => one.id !== merging.id)} onClose=${() => setMerging(null)}
      onDone=${() => { setMerging(null); reload(); }} />`}<//>`;
}
