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
	extOrgan            = "#Organ"
	extCategory         = "#Category"
	extState            = "#State"
	extSeriesNumber     = "#SeriesNumber"
	extSeriesText       = "#SeriesDescription"
	extInstanceNumber   = "#InstanceNumber"
	extModality         = "#Modality"
	extLabel            = "#Label"

	systemLesion = root + "#LesionIdentifier"
)

// SystemAssessment is the system of a report's identifier, whose value is the id
// of the assessment.
const SystemAssessment = root + "#AssessmentId"

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
	imaging   = concept{"http://hl7.org/fhir/2021Mar/valueset-observation-category.html", "imaging", "Imaging", "Imaging"}
)
