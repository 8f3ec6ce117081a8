/// What the harnesses claim of the host window.
package window_pkg;

  /// Whether `bytes` from `first` on are in the window, and do not wrap past the last address.
  function automatic logic has(logic [63:0] base, logic [63:0] size, logic [63:0] first,
                               logic [7:0] bytes);
    return first >= base && 66'(first) + 66'(bytes) <= 66'(base) + 66'(size) &&
        66'(first) + 66'(bytes) <= 66'h1_0000_0000_0000_0000;
  endfunction

endpackage
