package main

import "context"

const suiteCommand = "suite"

func runSuite(ctx context.Context, args []string) error { return nil }
