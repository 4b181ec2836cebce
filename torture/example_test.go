package torture_test

import (
	"context"
	"fmt"

	"github.com/deferredtls/deferredtls/torture"
)

// The first scenario, on the first network that it is for, beside the stack that fails it.
func ExampleRun() {
	report, err := torture.Run(context.Background(), torture.Plan{
		Stacks:    []torture.Stack{torture.Tlsstream()},
		Controls:  []torture.Stack{torture.Stdlib()},
		Scenarios: torture.Scenarios()[:1],
		Networks:  torture.Networks()[:1],
		Runs:      3,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Status)
	fmt.Println(report.Summary()[1])
	// Output:
	// clean
	// tlsstream lost nothing in 3 transfers.
}
