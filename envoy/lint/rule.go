package lint

import "slices"

// Rule is one trap. The next one is another value in the table of its topic,
// with testdata/ID.txtar that shows it bad and good.
type Rule struct {
	ID       string   // as findings, Options.Ignore and comments name it
	Severity Severity // of its worst finding
	Breaks   string   // what somebody would see
	Set      string   // what to do about it
	Check    func(*check)
}

// Rules returns all rules, by topic.
func Rules() []Rule {
	return slices.Concat(routeRules(), filterRules(), processorRules(), attachmentRules(), clusterRules(), loopbackRules(), listenerRules())
}
