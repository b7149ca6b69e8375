package readmodel

// IDKey is what reports sort by.
var IDKey = idKey
