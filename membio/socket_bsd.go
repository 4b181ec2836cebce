//go:build unix && !linux

package membio

const msgMore = 0
