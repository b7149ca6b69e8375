package api

// SearchParameters returns the names of the parameters of a search.
func SearchParameters() []string { return names(searchParameters()) }

// ReadParameters returns the names of the parameters of a read.
func ReadParameters() []string { return names(readParameters()) }

// ObservationParameters returns those of a search for Observations.
func ObservationParameters() []string { return names(observationParameters()) }

// HistoryParameters returns those of the history of a study.
func HistoryParameters() []string { return names(historyParameters()) }

// HistoryOfReportParameters returns those of the history of a report.
func HistoryOfReportParameters() []string { return names(historyOfReportParameters()) }

func names(table []parameter) []string {
	var all []string
	for _, p := range table {
		all = append(all, p.name)
	}
	return all
}
