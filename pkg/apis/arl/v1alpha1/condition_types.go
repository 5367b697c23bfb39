package v1alpha1

// Condition types that every kind may carry, for tools that read the health of objects they know
// nothing about. Both are present only while they are True.
const (
	// ConditionReconciling is True while the object is on its way to what its spec asks for.
	ConditionReconciling = "Reconciling"
	// ConditionStalled is True while the object cannot get there without a change by its user, or has
	// failed for good.
	ConditionStalled = "Stalled"
)
