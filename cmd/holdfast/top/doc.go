// Package top is the live table of streams in a terminal.
//
// A [Feed] follows the admin port's watch stream and keeps a [Picture] of it; a
// [View] makes lines of text of a picture, for any width and height and without
// a terminal; [Run] shows them, and looks at keys. Lines are sent only if they
// have changed, and a frame is one write, so nothing flickers.
package top
