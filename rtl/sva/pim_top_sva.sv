// The memory port.

bind pim_top pim_memory_port_check #(
  .AllBank(AllBank),
  .Banks(Banks),
  .RowBytes(RowBytes),
  .Rows(Rows),
  .AtomBytes(AtomBytes),
  .CkRatio(CkRatio),
  .TCl(TCl),
  .TCwl(TCwl),
  .TBl(TBl)
) u_memory_port (
  .clk_i(clk_i),
  .rst_ni(bus_rst_no),
  .row_cmd_i(mem_row_cmd_o),
  .row_all_i(mem_row_all_o),
  .row_bank_i(mem_row_bank_o),
  .row_row_i(mem_row_row_o),
  .row_slot_i(mem_row_slot_o),
  .col_cmd_i(mem_col_cmd_o),
  .col_all_i(mem_col_all_o),
  .col_bank_i(mem_col_bank_o),
  .col_row_i(mem_col_row_o),
  .col_column_i(mem_col_column_o),
  .col_slot_i(mem_col_slot_o),
  .asleep_i(mem_asleep_o),
  .read_i(mem_read_o),
  .write_i(mem_write_o)
);
