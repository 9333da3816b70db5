package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clock is what a process takes for the time of day.
//
// A Go program asks no library for it that could be replaced, as libfaketime does, but
// the vDSO, code that the kernel maps into every process. So that is what is replaced,
// before the program runs: by code that asks the kernel and adds what we say. The
// program itself is the one that users run, and knows nothing of it.
// https://man7.org/linux/man-pages/man7/vdso.7.html
type clock struct {
	pid    int
	offset int64 // address of what is added, in the process: nanoseconds
}

// askAndAdd is clock_gettime(clock, time) for amd64: of the time of day, clock 0, it
// adds whole seconds that stand behind it.
func askAndAdd() []byte {
	return []byte{
		0xb8, 228, 0, 0, 0, // mov eax, 228: clock_gettime
		0x0f, 0x05, // syscall
		0x85, 0xff, // test edi, edi
		0x75, 0x0a, // jnz to the ret
		0x48, 0x8b, 0x0d, 6, 0, 0, 0, // mov rcx, [rip+6]
		0x48, 0x01, 0x0e, // add [rsi], rcx
		0xc3, 0x90, 0x90, // ret, and what aligns the rest
		0, 0, 0, 0, 0, 0, 0, 0,
	}
}

// startWithClock starts a program whose clock can be set.
func startWithClock(cmd *exec.Cmd) (*clock, error) {
	if runtime.GOARCH != "amd64" || runtime.GOOS != "linux" {
		return nil, errors.New("a process's clock can be set on linux/amd64 only")
	}
	// Whoever traces a process is a thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Ptrace = true // it stops before its first instruction
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a process that is traced, which its clock needs: %w", err)
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return nil, err
	}
	if !status.Stopped() {
		return nil, fmt.Errorf("the traced process did not stop: %v", status)
	}
	c, err := replaceClock(pid)
	return c, errors.Join(err, syscall.PtraceDetach(pid))
}

func replaceClock(pid int) (*clock, error) {
	begin, end, err := vdso(pid)
	if err != nil {
		return nil, err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer mem.Close()
	image := make([]byte, end-begin)
	if _, err := mem.ReadAt(image, begin); err != nil {
		return nil, fmt.Errorf("reading the vDSO: %w", err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("the vDSO: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return nil, fmt.Errorf("the vDSO: %w", err)
	}
	code := askAndAdd()
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		at := begin + int64(s.Value)
		if _, err := mem.WriteAt(code, at); err != nil {
			return nil, fmt.Errorf("writing the vDSO: %w", err)
		}
		return &clock{pid: pid, offset: at + int64(len(code)) - 8}, nil
	}
	return nil, errors.New("the vDSO has no clock_gettime")
}

// vdso is where it is in a process.
func vdso(pid int) (begin, end int64, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			continue
		}
		from, to, _ := strings.Cut(strings.Fields(line)[0], "-")
		begin, errBegin := strconv.ParseInt(from, 16, 64)
		end, errEnd := strconv.ParseInt(to, 16, 64)
		return begin, end, errors.Join(errBegin, errEnd)
	}
	return 0, 0, errors.New("the process has no vDSO")
}

// set has the process's clock go wrong by that much, of which whole seconds count.
func (c *clock) set(by time.Duration) error {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", c.pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	_, err = mem.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second))), c.offset)
	return err
}
