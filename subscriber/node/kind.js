/**
 * The types of events. A well-formed type may be of an unknown kind: a newer
 * publisher writes kinds that this version does not know, and reading continues. The rules are in ../../events/testdata/README.md.
 */

const KNOWN = new Set([
  'diagnosticreport.signed.v1', 'diagnosticreport.amended.v1', 'diagnosticreport.superseded.v1', 'diagnosticreport.withdrawn.v1',
  'observations.signed.v1', 'access.partner.v1', 'access.key.v1', 'access.audited.optional.v1', 'access.granted.v1', 'access.revoked.v1',
]);

// A prefix, then the kind: noun, verb, perhaps "optional", version.
const TYPE = /^(?:[a-z0-9-]+\.)+(?<kind>[a-z][a-z0-9-]{0,63}\.(?!optional\.)[a-z][a-z0-9-]{0,63}(?<optional>\.optional)?\.v[1-9]\d{0,8})$/;

const STUDY = /^[A-Za-z0-9-][A-Za-z0-9_-]{0,63}$/;
const PARTNER = /^_partner\/[A-Za-z0-9_-]{1,64}$/;
const ACCESS = '_access';

/**
 * Returns the kind of a type, `{ kind, known, optional }`; undefined for a
 * malformed one. An event of an unknown kind may be skipped if it is optional.
 * Otherwise it may mean anything, such as that a report must not be used any more.
 */
export function kindOf(type) {
  const match = TYPE.exec(type);
  if (match === null) {
    return undefined;
  }
  const { kind, optional } = match.groups;
  return { kind, known: KNOWN.has(kind), optional: optional !== undefined };
}

/** Reports whether events of the kind may be in the study with this study key. */
export function belongs(kind, study) {
  if (!kind.startsWith('access.')) {
    return STUDY.test(study);
  }
  switch (kind) {
    case 'access.partner.v1':
    case 'access.key.v1':
    case 'access.audited.optional.v1':
      return study === ACCESS;
    case 'access.granted.v1':
    case 'access.revoked.v1':
      return PARTNER.test(study);
    default:
      return study === ACCESS || PARTNER.test(study);
  }
}
