package outbox

// ReaderStatements returns the queries by which Audit reads the newest lines for a PI, each
// with its parameters.
func (o *Outbox) ReaderStatements(f AuditFilter) (queries []string, args [][]any) {
	for _, part := range f.readerParts() {
		query, params := f.statement(part, o.db)
		queries, args = append(queries, query), append(args, params)
	}
	return queries, args
}
