export class ControlError extends Error { kind: string; lastLines: string[] }
export interface Notice { event: string; message: string; unix_ms: number; [field: string]: any }
export interface Options { onNotice?: (notice: Notice) => void; timeout?: number }
export class App {
  readonly name: string;
  status(): Promise<any>;
  reload(options?: Options & { method?: Record<string, unknown> }): Promise<any>;
  restart(options?: Options): Promise<any>;
  scale(workers: number, options?: Options): Promise<any>;
  start(options?: Options): Promise<any>;
  stop(options?: Options): Promise<any>;
  delete(options?: Options): Promise<any>;
  subscribe(onNotice: (notice: Notice) => void, onEnd?: (error?: Error) => void): () => void;
  ask(request: Record<string, unknown>, options?: Options): Promise<any>;
}
export class Control {
  constructor(options?: { folder?: string; program?: string });
  apps(): App[];
  app(name: string): App;
  start(command: string[], name: string, options?: string[]): Promise<App>;
}
