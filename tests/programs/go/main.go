// What a Go program commonly does. Says in one JSON line what worked.
package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

func routines() int {
	results := make(chan int)
	var group sync.WaitGroup
	for i := 0; i < 200; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			time.Sleep(time.Millisecond)
			results <- i
		}(i)
	}
	go func() { group.Wait(); close(results) }()
	sum := 0
	for i := range results {
		sum += i
	}
	return sum
}

func command() string {
	out, err := exec.Command("/bin/sh", "-c", "echo $0 | rev", "abc").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

func unix() string {
	path := filepath.Join(os.TempDir(), "go-socket")
	listener, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EACCES) {
		return "EACCES"
	}
	if err != nil {
		return err.Error()
	}
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }))
	client := http.Client{Transport: &http.Transport{Dial: func(_, _ string) (net.Conn, error) { return net.Dial("unix", path) }}}
	answer, err := client.Get("http://unix/")
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text := make([]byte, 16)
	n, _ := answer.Body.Read(text)
	return string(text[:n])
}

func signalled() bool {
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	select {
	case <-heard:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

// The number of the error, or what it is else.
func refused(err error) string {
	var number syscall.Errno
	if err == nil {
		return "none"
	}
	if errors.As(err, &number) {
		return map[syscall.Errno]string{syscall.EACCES: "EACCES", syscall.EPERM: "EPERM", syscall.EPROTONOSUPPORT: "EPROTONOSUPPORT"}[number]
	}
	return err.Error()
}

func main() {
	_, listen := net.Listen("tcp", "127.0.0.1:0")
	_, dial := net.Dial("tcp", "127.0.0.1:9")
	_, udp := net.Dial("udp", "127.0.0.1:9")
	written := os.WriteFile(filepath.Join(os.TempDir(), "go-file"), []byte("text"), 0o600)
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"routines": routines(),
		"command":  command(),
		"unix":     unix(),
		"signal":   signalled(),
		"file":     written == nil,
		"threads":  runtime.NumCPU() > 0,
		"listen":   refused(listen),
		"dial":     refused(dial),
		"udp":      refused(udp),
	})
}
