package bench

import "runtime"

// collections is how often the garbage is collected before memory is counted: the second empties what pools had kept,
// and each halves stacks that are less than a quarter full.
const collections = 4

// memoryInUse is what live objects and the stacks of goroutines take.
func memoryInUse() memory {
	buffers()
	for range collections {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return memory{Heap: m.HeapAlloc, Stack: m.StackInuse}
}
