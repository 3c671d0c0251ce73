/** JSON Schemas as far as a form can be drawn from them; what it can't draw is asked for as JSON. */

export interface Schema {
  $ref?: string;
  $defs?: { [name: string]: Schema };
  type?: string;
  title?: string;
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  properties?: { [name: string]: Schema };
  required?: string[];
  items?: Schema;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
}

export type FieldKind = "choice" | "yes-no" | "number" | "text" | "long-text" | "lines" | "group" | "json";

/** The schema itself in place of a reference, and the one branch of a choice between it and null. */
export function resolve(schema: Schema, root: Schema): Schema {
  if (schema.$ref !== undefined) {
    const found = root.$defs?.[schema.$ref.split("/").at(-1) ?? ""];
    return found === undefined ? {} : resolve({ ...found, ...describing(schema) }, root);
  }
  const branches = schema.anyOf?.filter((branch) => branch.type !== "null") ?? [];
  const [only] = branches;
  if (branches.length !== 1 || only === undefined) return schema;
  return resolve({ ...only, ...describing(schema) }, root);
}

export function kindOf(schema: Schema): FieldKind {
  if (schema.enum !== undefined) return "choice";
  if (schema.type === "boolean") return "yes-no";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "string") return (schema.maxLength ?? 0) > 2_000 ? "long-text" : "text";
  if (schema.type === "array" && schema.items?.type === "string") return "lines";
  if (schema.type === "object" && schema.properties !== undefined) return "group";
  return "json";
}

/** A property's name as a person reads it. */
export function labelOf(name: string, schema: Schema): string {
  const words = (schema.title ?? name).replaceAll("_", " ").replace(/ s$/i, " (s)").replace(/ mb$/i, " (MB)");
  return (
    words.charAt(0).toUpperCase() + words.slice(1).toLowerCase().replace("(mb)", "(MB)").replace("cpu", "CPU")
  );
}

function describing({ title, description, default: value }: Schema): Schema {
  return {
    ...(title === undefined ? {} : { title }),
    ...(description === undefined ? {} : { description }),
    ...(value === undefined ? {} : { default: value }),
  };
}
