package fhir

// The root of the structure definitions, and the names below it. SponsorId of
// a report and SponsorID of an Observation are different names.
const (
	root = "https://fhir.mskcc.org/structure-definitions/"

	extProtocol         = "#IDB.Protocol"
	extSponsorReport    = "#SponsorId"
	extSponsorLesion    = "#SponsorID"
	extCaseID           = "#CaseId"
	extTrialName        = "#TrialName"
	extTrialArm         = "#TrialArmName"
	extRevision         = "#RevisionNumber" // the case's first, the assessment's second
	extRevisionDate     = "#RevisionDate"
	extName             = "#Name"
	extTimepoint        = "#Timepoint"
	extQuantity         = "#CumulativeQuantityId"
	extCurrentValue     = "#CurrentValue"
	extUnit             = "#Unit"
	extFromPrevious     = "#ChangeFromPrevious"
	extFromBaseline     = "#ChangeFromBaseline"
	extFromNadir        = "#ChangeFromNadir"
	extWithdrawal       = "#Withdrawal" // nested: user, name, meaning, time
	extWithdrawalReason = "#WithdrawalReason"
	extMeaning          = "#SignatureMeaning"
	extEvent            = "#Event" // nested: the attributes of an event
	extOrgan            = "#Organ"
	extCategory         = "#Category"
	extState            = "#State"
	extSeriesNumber     = "#SeriesNumber"
	extSeriesText       = "#SeriesDescription"
	extInstanceNumber   = "#InstanceNumber"
	extModality         = "#Modality"
	extLabel            = "#Label"
)

// The systems of identifiers and of the category of an Observation.
const (
	SystemAssessment = root + "#AssessmentId"     // of a report; the value is the id of the assessment
	SystemLesion     = root + "#LesionIdentifier" // of an Observation; see LesionIdentifier
	SystemCategory   = "http://hl7.org/fhir/2021Mar/valueset-observation-category.html"
)

// The kinds of value[x] in use.
const (
	valueString   = "valueString"
	valueInteger  = "valueInteger"
	valueDecimal  = "valueDecimal"
	valueDateTime = "valueDateTime"
)

const (
	typeReport      = "DiagnosticReport"
	typeObservation = "Observation"

	statusFinal     = "final"
	statusWithdrawn = "entered-in-error"

	subjectPrefix = "Patient/"
	codeReport    = "Response assessment, RECIST 1.1"
	codeLesion    = "Lesion measurement"
)

// concept is a CodeableConcept of one coding.
type concept struct{ system, code, display, text string }

var (
	radiology = concept{"http://hl7.org/fhir/ValueSet/diagnostic-service-sections", "RAD", "Radiology", "Radiology"}
	imaging   = concept{SystemCategory, "imaging", "Imaging", "Imaging"}
)
