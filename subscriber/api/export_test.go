package api

// SearchParameters returns the names of the parameters of a search.
func SearchParameters() []string { return names(searchParameters("")) }

// ReadParameters returns the names of the parameters of a read.
func ReadParameters() []string { return names(readParameters()) }

// ObservationParameters returns those of a search for Observations.
func ObservationParameters() []string { return names(observationParameters("")) }

// HistoryParameters returns those of the history of a study.
func HistoryParameters() []string { return names(historyParameters()) }

// HistoryOfReportParameters returns those of the history of a report.
func HistoryOfReportParameters() []string { return names(historyOfReportParameters()) }

// Routes returns the methods of each path that is served, by the path below the base path.
// In the paths about one resource, {id} stands for its id and {number} for a study number.
func (a *API) Routes() map[string][]string {
	routes := map[string][]string{}
	for path, e := range a.endpoints {
		routes[path] = e.methods
	}
	for _, kind := range []string{"DiagnosticReport", "Observation", "observation", "Patient"} {
		for _, below := range []string{"", "/_history", "/_search", "/_history/{number}", "/_search/{number}", "/_history/{number}/_history"} {
			if e := a.endpoint(a.cfg.BasePath + "/" + kind + "/{id}" + below); e.answer != nil {
				routes["/"+kind+"/{id}"+below] = e.methods
			}
		}
	}
	return routes
}

func names(table []parameter) []string {
	var all []string
	for _, p := range table {
		all = append(all, p.name)
	}
	return all
}
