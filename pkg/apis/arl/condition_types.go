package arl

// Condition types that every kind may carry. Both are present only while they are True.
const (
	// ConditionReconciling is True while the object is on its way to what its spec asks for.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True while the object cannot get there without a change by its user, or has
	// failed for good.
	ConditionStalled = "Stalled"
)
