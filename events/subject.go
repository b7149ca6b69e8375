package events

// Subjects of the stream. The publisher publishes to IngestPrefix + subject;
// a subject transform of the stream stores the event as subject, and what is
// stored is republished on it. Without that detour core subscribers would see
// batches that are never committed.
const (
	Stream         = "SIGNOFF"
	SubjectPrefix  = "crit."
	IngestPrefix   = "in."
	PartnerPrefix  = "crit.v1."
	partnerAccess  = "crit.partner."        // followed by the partner's id and .access
	AccessSubject  = "crit.internal.access" // granted to nobody
	IngestWildcard = IngestPrefix + SubjectPrefix + ">"
	StoredWildcard = SubjectPrefix + ">"
)

// StudySubjects is the wildcard of all a study's events.
func StudySubjects(token string) string { return PartnerPrefix + token + ".>" }

// PartnerAccessSubject is where the events of a PartnerStudy are stored.
func PartnerAccessSubject(id string) string { return partnerAccess + id + ".access" }

// NATSSubject is where the event is stored, a function of its study and its type
// alone. It is the same for whoever knows the kind and whoever does not, because
// a publisher may have to find events on the stream that a newer one stored. It
// holds no assessment id: each distinct subject costs the server memory for
// ever. What is no valid event goes where no partner sees it.
func (e Event) NATSSubject() string {
	kind, ok := kindOf(e.Type)
	if !ok || kind.in(e.Study) != nil {
		return AccessSubject
	}
	if partner, ok := PartnerOf(e.Study); ok {
		return PartnerAccessSubject(partner)
	}
	if kind.internal() {
		return AccessSubject
	}
	return PartnerPrefix + e.Study + "." + kind.subjectTail()
}
