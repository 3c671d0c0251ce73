import { useId, useState } from "preact/hooks";

import { kindOf, labelOf, resolve, type Schema } from "./schema.ts";

type Values = { [key: string]: unknown };

interface FieldsProps {
  schema: Schema;
  /** Holds the definitions that references lead to. */
  root: Schema;
  values: Values;
  without?: readonly string[];
  /** Whether none of it may be left out; what a group needs, it needs only where it is there. */
  isNeeded?: boolean;
  onChange: (values: Values) => void;
}

/** A field for each property; one that is left empty is left out, so that its default holds. */
export function SchemaFields({ schema, root, values, without = [], isNeeded = true, onChange }: FieldsProps) {
  const names = Object.keys(schema.properties ?? {}).filter((name) => !without.includes(name));
  return (
    <div class="fields">
      {names.map((name) => (
        <SchemaField
          key={name}
          name={name}
          schema={resolve(schema.properties?.[name] ?? {}, root)}
          root={root}
          isRequired={isNeeded && (schema.required?.includes(name) ?? false)}
          value={values[name]}
          onChange={(value) => onChange(changed(values, name, value))}
        />
      ))}
    </div>
  );
}

interface FieldProps {
  name: string;
  schema: Schema;
  root: Schema;
  isRequired?: boolean;
  value: unknown;
  onChange: (value: unknown) => void;
}

export function SchemaField({ name, schema, root, isRequired = false, value, onChange }: FieldProps) {
  const id = useId();
  const label = labelOf(name, schema);
  const kind = kindOf(schema);
  if (kind === "group") {
    return (
      <fieldset class="group">
        <legend>{label}</legend>
        {schema.description !== undefined && <p class="hint">{schema.description}</p>}
        <SchemaFields
          schema={schema}
          root={root}
          values={(value as Values | undefined) ?? {}}
          isNeeded={isRequired}
          onChange={(values) => onChange(Object.keys(values).length === 0 ? undefined : values)}
        />
      </fieldset>
    );
  }
  return (
    <div class={kind === "yes-no" ? "field field-inline" : "field"}>
      <label for={id}>
        {label}
        {isRequired && <span class="required"> (needed)</span>}
      </label>
      <Control id={id} schema={schema} isRequired={isRequired} value={value} onChange={onChange} />
      {schema.description !== undefined && <p class="hint">{schema.description}</p>}
    </div>
  );
}

interface ControlProps {
  id: string;
  schema: Schema;
  isRequired: boolean;
  value: unknown;
  onChange: (value: unknown) => void;
}

function Control({ id, schema, isRequired, value, onChange }: ControlProps) {
  const kind = kindOf(schema);
  const text = value === undefined ? "" : String(value);
  const told = schema.default === null || schema.default === undefined ? "" : String(schema.default);
  if (kind === "json")
    return <JsonControl id={id} isRequired={isRequired} value={value} onChange={onChange} />;
  if (kind === "choice") {
    return <Choice id={id} schema={schema} isRequired={isRequired} value={text} onChange={onChange} />;
  }
  if (kind === "yes-no") {
    const isOn = value === true || (value === undefined && schema.default === true);
    return (
      <input id={id} type="checkbox" checked={isOn} onChange={(e) => onChange(e.currentTarget.checked)} />
    );
  }
  if (kind === "lines") {
    const lines = Array.isArray(value) ? value.join("\n") : "";
    return (
      <textarea
        id={id}
        class="code"
        rows={2}
        required={isRequired}
        value={lines}
        placeholder="one a line"
        onInput={(e) => onChange(linesOf(e.currentTarget.value))}
      />
    );
  }
  if (kind === "long-text") {
    return (
      <textarea
        id={id}
        rows={4}
        required={isRequired}
        value={text}
        onInput={(e) => onChange(e.currentTarget.value || undefined)}
      />
    );
  }
  if (kind === "number") {
    return (
      <input
        id={id}
        type="number"
        step={schema.type === "integer" ? 1 : "any"}
        min={schema.minimum}
        max={schema.maximum}
        required={isRequired}
        value={text}
        placeholder={told}
        onInput={(e) => onChange(numberOf(e.currentTarget))}
      />
    );
  }
  const take = (written: string) => onChange(written === "" ? undefined : written);
  return (
    <input
      id={id}
      required={isRequired}
      value={text}
      placeholder={told}
      onInput={(e) => take(e.currentTarget.value)}
    />
  );
}

function Choice({
  id,
  schema,
  isRequired,
  value,
  onChange,
}: Omit<ControlProps, "value"> & { value: string }) {
  const choices = schema.enum ?? [];
  return (
    <select
      id={id}
      required={isRequired}
      value={value}
      onChange={(event) => onChange(choices.find((choice) => String(choice) === event.currentTarget.value))}
    >
      <option value="">{schema.default == null ? "–" : `default: ${schema.default}`}</option>
      {choices.map((choice) => (
        <option key={String(choice)}>{String(choice)}</option>
      ))}
    </select>
  );
}

function JsonControl({ id, isRequired, value, onChange }: Omit<ControlProps, "schema">) {
  const [text, setText] = useState(value === undefined ? "" : JSON.stringify(value, null, 2));
  const [isWrong, setWrong] = useState(false);
  const take = (written: string) => {
    setText(written);
    try {
      onChange(written.trim() === "" ? undefined : JSON.parse(written));
      setWrong(false);
    } catch {
      setWrong(true);
    }
  };
  return (
    <>
      <textarea
        id={id}
        class="code"
        rows={2}
        required={isRequired}
        value={text}
        placeholder="JSON"
        aria-invalid={isWrong}
        spellcheck={false}
        onInput={(event) => take(event.currentTarget.value)}
      />
      {isWrong && <p class="error-text">That is no JSON yet.</p>}
    </>
  );
}

function changed(values: Values, name: string, value: unknown): Values {
  const { [name]: _, ...others } = values;
  return value === undefined ? others : { ...others, [name]: value };
}

function linesOf(text: string): string[] | undefined {
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.length === 0 ? undefined : lines;
}

function numberOf(input: HTMLInputElement): number | undefined {
  return input.value === "" || Number.isNaN(input.valueAsNumber) ? undefined : input.valueAsNumber;
}
