package api

// SearchParameters returns the names of the parameters of a search.
func SearchParameters() []string { return names(searchParameters()) }

// ReadParameters returns the names of the parameters of a read.
func ReadParameters() []string { return names(readParameters()) }

func names(table []parameter) []string {
	var all []string
	for _, p := range table {
		all = append(all, p.name)
	}
	return all
}
