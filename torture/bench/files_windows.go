package bench

// allowFiles has nothing to do: there is no limit.
func allowFiles(n int) int { return n }
