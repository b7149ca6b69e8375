package doors

// GrantsOf is for tests of what a connection's name says.
var GrantsOf = grantsOf
