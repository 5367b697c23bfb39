package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"arl.io/arl/pkg/sdk"
)

// A session is a sandbox: commands find what those before them have left.
func Example() {
	ctx := context.Background()
	client, err := sdk.Connect()
	if err != nil {
		log.Fatal(err)
	}
	session, err := sdk.NewSession(ctx, client, "python")
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	if err := session.WriteFile(ctx, "greet.sh", []byte("echo hello, $1\n"), 0o755); err != nil {
		log.Fatal(err)
	}
	result, err := session.Run(ctx, "sh greet.sh world")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result.Stdout)
	// Output: hello, world
}

// Pools are made once; sessions then have a pod at once.
func ExamplePools() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	client, err := sdk.Connect()
	if err != nil {
		log.Fatal(err)
	}
	pools := sdk.NewPools(client, "default")
	pool := sdk.NewPool("python-39-std", "python:3.9-slim", 2)
	pool.Spec.WorkDir = "/testbed"
	if _, err := pools.Create(ctx, pool); err != nil {
		log.Fatal(err)
	}
	ready, err := pools.WaitReady(ctx, "python-39-std")
	if err != nil {
		log.Fatal(err) // with the reason, such as an image that cannot be had
	}
	fmt.Println(ready.Name, "is", ready.Status.Phase)
	if err := pools.Delete(ctx, "python-39-std"); err != nil {
		log.Fatal(err)
	}
	// Output: python-39-std is Ready
}

// Steps are run in one go: a file, a unified diff, a command. How each of them
// went can be read from the result.
func ExampleSession_Execute() {
	ctx := context.Background()
	client, err := sdk.Connect()
	if err != nil {
		log.Fatal(err)
	}
	session, err := sdk.NewSession(ctx, client, "python",
		sdk.WithTimeout(time.Minute), sdk.WithEnv(map[string]string{"LIMIT": "3"}))
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	patch := `--- count.sh
+++ count.sh
@@ -1 +1 @@
-seq 1
+seq $LIMIT
`
	result, err := session.Execute(ctx,
		sdk.File("count.sh", "seq 1\n"),
		sdk.Patch("count.sh", patch),
		sdk.Command("sh", "count.sh"),
	)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result.Stdout)
	for _, step := range result.Steps {
		fmt.Println(step.Name, step.State)
	}
	// Output:
	// 1
	// 2
	// 3
	// step-1 Succeeded
	// step-2 Succeeded
	// step-3 Succeeded
}

// A command that fails is no error: its exit code and output are what was asked
// for. Who takes it for one asks Err.
func ExampleResult_Err() {
	ctx := context.Background()
	client, err := sdk.Connect()
	if err != nil {
		log.Fatal(err)
	}
	session, err := sdk.NewSession(ctx, client, "python")
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()

	result, err := session.Run(ctx, "echo 1 test failed >&2; exit 1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result.ExitCode, " ", result.Stderr)
	var failed *sdk.StepFailedError
	fmt.Println(errors.As(result.Err(), &failed))
	// Output:
	// 1 1 test failed
	// true
}

// Errors have types, and say what to do.
func ExamplePoolNotFoundError() {
	ctx := context.Background()
	client, err := sdk.Connect()
	if err != nil {
		log.Fatal(err)
	}
	_, err = sdk.NewSession(ctx, client, "pyhton", sdk.WithNamespace("rl"))
	var missing *sdk.PoolNotFoundError
	if errors.As(err, &missing) {
		fmt.Printf("there is no %s among %v\n", missing.Pool, missing.Available)
	}
	fmt.Println(errors.Is(err, sdk.ErrPoolNotFound))
	// Output:
	// there is no pyhton among [python]
	// true
}
